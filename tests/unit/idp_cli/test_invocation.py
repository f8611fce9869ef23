from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from idp_cli.invocation import Invocation
from idp_cli.output import Output, OutputFormat
from idp_cli.supervision.home import Home
from idp_kernel.errors import InvalidInput, Unauthenticated

LOCAL = "http://127.0.0.1:8080"


def invocation(
    home: Path, *, token: str | None = None, token_file: Path | None = None
) -> Invocation:
    return Invocation(
        home=Home.at(home),
        output=Output(Console(file=io.StringIO()), OutputFormat.TABLE),
        api_url_given=None,
        forge_url_given=None,
        token_given=token,
        token_file=token_file,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose platform has made its first admin."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "admin.token").write_text("idp_pat_admin\n")
    return tmp_path


def test_the_first_admins_token_is_used_on_this_machine(home: Path) -> None:
    assert invocation(home).token_for(LOCAL) == "idp_pat_admin"


@pytest.mark.parametrize("url", ["https://idp.example.test", "http://127.0.0.1.example.test:8080"])
def test_the_first_admins_token_goes_nowhere_else(home: Path, url: str) -> None:
    with pytest.raises(Unauthenticated, match="no token"):
        invocation(home).token_for(url)


def test_a_given_token_comes_before_a_file_and_both_before_the_admins(home: Path) -> None:
    file = home / "mine"
    file.write_text("idp_pat_mine\n")
    assert invocation(home, token_file=file).token_for(LOCAL) == "idp_pat_mine"
    assert invocation(home, token="idp_pat_x", token_file=file).token_for(LOCAL) == "idp_pat_x"


def test_an_unusable_token_file_is_said(home: Path) -> None:
    empty = home / "empty"
    empty.touch()
    with pytest.raises(InvalidInput, match="is empty"):
        invocation(home, token_file=empty).token_for(LOCAL)
    with pytest.raises(InvalidInput, match="cannot be read"):
        invocation(home, token_file=home / "missing").token_for(LOCAL)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"one\ntwo", "t\u00f6ken".encode(), b"a\x00b"])
def test_what_no_request_can_carry_is_no_token(home: Path, content: bytes) -> None:
    file = home / "mine"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=re.escape(str(file))) as refused:
        invocation(home, token_file=file).token_for(LOCAL)
    assert refused.value.code == "token_malformed"


def test_a_given_token_that_is_none_is_refused_and_not_shown(home: Path) -> None:
    with pytest.raises(InvalidInput, match="IDP_TOKEN") as refused:
        invocation(home, token="t\u00f6p secret").token_for(LOCAL)
    assert "secret" not in refused.value.message
