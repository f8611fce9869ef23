"""What a process says of its variables, and that it never shows a value."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from idp_kernel.errors import InvariantBroken
from idp_kernel.settings import (
    AbsoluteFolder,
    AuthoritiesFile,
    DatabaseUrl,
    HttpUrl,
    KeptSecretFilePath,
    LogLevel,
    Needs,
    Port,
    Seconds,
    SecretFilePath,
    ServiceSettings,
    form_of,
    read_settings,
    required,
    variable_of,
)
from idp_kernel.settings_reference import ROOT, SettingsSection, settings_page
from tests.fixtures.tls import certificate_of_its_own

SECRET = "hunter2hunter2hunter2"


class Fruit(StrEnum):
    APPLE = "apple"
    PEAR = "pear"


PEAR_NEEDS = Needs("the fruit pear", ("address",))


class SharedSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="IDP_PRETEND_")

    database_url: DatabaseUrl
    """Where it keeps things."""


class PretendSettings(SharedSettings):
    """Every kind of setting once."""

    port: Port = 8080
    """The port."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    patience_seconds: Seconds | None = None
    fruit: Fruit = Fruit.APPLE
    address: HttpUrl | None = None
    """Where it is; with a bar | inside."""
    log_level: LogLevel = "INFO"
    key_file: SecretFilePath
    """The key."""
    ca_file: AuthoritiesFile | None = None
    made_file: KeptSecretFilePath | None = None
    home: Annotated[AbsoluteFolder, Field(validation_alias="PRETEND_HOME")] = Path("/")
    workspace_file: Path = ROOT / "workspace.yaml"

    def needs(self) -> Iterator[Needs]:
        if self.fruit is Fruit.PEAR:
            yield PEAR_NEEDS


class OtherProgramSettings(SharedSettings):
    only_here: str = "x"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(SECRET)
    return path


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, key_file: Path) -> None:
    monkeypatch.setenv("IDP_PRETEND_DATABASE_URL", "postgresql+psycopg://me@127.0.0.1:1/idp")
    monkeypatch.setenv("IDP_PRETEND_KEY_FILE", str(key_file))


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines after the process ended itself with status 2."""
    with pytest.raises(SystemExit) as ended:
        read_settings(PretendSettings)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert SECRET not in err
    return err.splitlines()


def test_good_variables_are_read_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_settings(PretendSettings).port == 8080
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("variable", "value", "must_be"),
    [
        ("IDP_PRETEND_PORT", SECRET, "a whole number from 1 to 65535"),
        ("IDP_PRETEND_PORT", "0", "a whole number from 1 to 65535"),
        ("IDP_PRETEND_SHARE", "1.5", "a number from 0 to 1"),
        ("IDP_PRETEND_PATIENCE_SECONDS", "0", "a number above 0, at most 600"),
        ("IDP_PRETEND_FRUIT", SECRET, "one of apple, pear"),
        ("IDP_PRETEND_ADDRESS", f"http://me:{SECRET}@host", "an http:// or https:// address"),
        ("IDP_PRETEND_ADDRESS", "", "an http:// or https:// address"),
        ("IDP_PRETEND_LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING or ERROR"),
        ("IDP_PRETEND_DATABASE_URL", f"mysql://me:{SECRET}@host/x", "a postgresql:// URL"),
        ("PRETEND_HOME", "relative", "the absolute path of a folder"),
    ],
)
def test_a_wrong_value_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    must_be: str,
) -> None:
    monkeypatch.setenv(variable, value)
    (line,) = told(capsys)
    assert line.startswith(f"{variable}: it must be {must_be}")


def test_everything_wrong_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IDP_PRETEND_DATABASE_URL")
    monkeypatch.setenv("IDP_PRETEND_PORT", "x")
    first, second = told(capsys)
    assert first.startswith("IDP_PRETEND_DATABASE_URL: it is not set and has no default; it must")
    assert second.startswith("IDP_PRETEND_PORT: ")


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file or directory"), ("", "is empty")]
)
def test_a_file_that_is_not_there_is_told_without_its_name(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: str | None,
    why: str,
) -> None:
    """Somebody may have put the secret itself there."""
    path = tmp_path / SECRET
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("IDP_PRETEND_KEY_FILE", str(path))
    (line,) = told(capsys)
    assert line.startswith("IDP_PRETEND_KEY_FILE: the file that it names")
    assert why in line


def test_a_file_of_authorities_has_certificates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "authorities.pem"
    monkeypatch.setenv("IDP_PRETEND_CA_FILE", str(path))
    path.write_text("no certificate")
    (line,) = told(capsys)
    assert line == (
        "IDP_PRETEND_CA_FILE: the file that it names has no certificates; it must be the path of a "
        "file with certificates, as PEM"
    )
    path.write_text(certificate_of_its_own())
    assert read_settings(PretendSettings).ca_file == path


def test_an_unknown_variable_is_told_with_the_nearest_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDP_PRETEND_PROT", SECRET)
    monkeypatch.setenv("IDP_PRETEND_ONLY_HERE", "known to a program that shares the prefix")
    assert read_settings(PretendSettings).port == 8080
    assert capsys.readouterr().err == (
        "IDP_PRETEND_PROT: there is no such setting, it is not used; "
        "the nearest is IDP_PRETEND_PORT\n"
    )


def test_a_page_has_every_setting_of_its_class_once() -> None:
    page = settings_page(
        "Pretend",
        "Words.",
        [
            SettingsSection("Both", SharedSettings),
            SettingsSection("One", PretendSettings, without=(SharedSettings,), text="More."),
        ],
    )
    for name in PretendSettings.model_fields:
        variable = variable_of(PretendSettings, name)
        assert page.count(f"| `{variable}` |") == 1, name
    assert "| `IDP_PRETEND_PORT` | `8080` | a whole number from 1 to 65535 | The port. |" in page
    assert "bar \\| inside" in page
    assert "| **required** |" in page
    assert "The key. The file holds a secret: mode 0600." in page
    assert "| `workspace.yaml` | a path |" in page


def test_what_a_choice_needs_is_told_with_all_else_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key_file: Path
) -> None:
    monkeypatch.setenv("IDP_PRETEND_FRUIT", "pear")
    key_file.unlink()
    file, address = told(capsys)
    assert file.startswith("IDP_PRETEND_KEY_FILE: the file that it names cannot be read")
    assert address == (
        "IDP_PRETEND_ADDRESS: the fruit pear needs it and it is not set; it must be an http:// or "
        "https:// address without user, query or fragment"
    )


def test_what_is_not_told_beforehand_is_required_by_nobody() -> None:
    settings = PretendSettings(fruit=Fruit.PEAR)
    with pytest.raises(InvariantBroken):
        required(settings.patience_seconds, settings, "patience_seconds", PEAR_NEEDS)


def test_a_number_without_an_end_is_told() -> None:
    class Open(ServiceSettings):
        many: Annotated[int, Field(ge=1)] = 1
        some: Annotated[float, Field(gt=0)] = 1

    words = [form_of(field).words for field in Open.model_fields.values()]
    assert words == ["a whole number from 1 on", "a number above 0"]
