"""`idp secret login` at a real OpenBao; the platform that signs the login stands in."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from idp_cli.exits import ExitCode
from idp_kernel.ids import new_id
from idp_kernel.tokens import AUDIENCE_SECRET_STORE, StoreAccess, issue_store_login, store_role
from tests.fixtures.stack import OpenBaoServer, free_port
from tests.fixtures.stand_in_platform import StandInPlatform
from tests.fixtures.tls import tls_way
from tests.integration.idp_cli.conftest import Idp

TEAM = f"team-x{new_id()[-10:]}"
KEY = f"{TEAM}/shop/dev/app-key"
VALUE = f"the-value-{new_id()}"
POLICY = f"""
path "kv/data/teams/{TEAM}/*" {{ capabilities = ["create", "read", "update"] }}
path "kv/metadata/teams/{TEAM}/*" {{ capabilities = ["list", "read"] }}
"""


@pytest.fixture(scope="module", autouse=True)
def _role(openbao_server: OpenBaoServer) -> None:
    """The team's people may come in, as after its first secret."""
    let_team_in(openbao_server)


def let_team_in(server: OpenBaoServer, within: str = "") -> None:
    as_root(server, "PUT", f"{within}sys/policies/acl/{TEAM}", {"policy": POLICY})
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [AUDIENCE_SECRET_STORE],
        "bound_claims": {"team": TEAM, "access": "write"},
        "token_policies": [TEAM],
        "token_ttl": 900,
    }
    path = f"{within}auth/jwt/role/{store_role(TEAM, StoreAccess.WRITE)}"
    as_root(server, "POST", path, role)


@pytest.fixture
def platform(openbao_server: OpenBaoServer) -> StandInPlatform:
    """Signs logins that the store believes."""
    return StandInPlatform(store_url=openbao_server.url, store_login=signed(openbao_server, TEAM))


@pytest.fixture(autouse=True)
def _application(openbao_server: OpenBaoServer, idp: Idp, platform: StandInPlatform) -> None:
    """With a key whose value is in the store."""
    idp("app", "register", TEAM, "shop", "--provision", "dev", "--secret", "app-key", "--watch")
    (secret,) = platform.secrets.values()
    keep(openbao_server, f"kv/metadata/{secret.store_path}", VALUE)


def keep(server: OpenBaoServer, metadata_path: str, value: str) -> None:
    """A first version at that path."""
    as_root(server, "POST", metadata_path, {"cas_required": True})
    body = {"data": {"value": value}, "options": {"cas": 0}}
    as_root(server, "POST", metadata_path.replace("/metadata/", "/data/"), body)


def as_root(server: OpenBaoServer, method: str, path: str, body: object) -> None:
    headers = {"X-Vault-Token": server.root_token}
    httpx.request(method, f"{server.url}/v1/{path}", json=body, headers=headers).raise_for_status()


def signed(server: OpenBaoServer, team: str) -> str:
    now = datetime.now(UTC)
    return issue_store_login(
        server.login_key, "ana", team=team, access=StoreAccess.WRITE, now=now,
        until=now + timedelta(minutes=5),
    )  # fmt: skip


def granted(idp: Idp, *options: str) -> Any:
    return json.loads(idp("secret", "login", KEY, *options, "--output", "json"))


def live_tokens(server: OpenBaoServer) -> set[str]:
    """By their accessors."""
    headers = {"X-Vault-Token": server.root_token}
    answer = httpx.request("LIST", f"{server.url}/v1/auth/token/accessors", headers=headers)
    return set(answer.raise_for_status().json()["data"]["keys"])


def is_alive(server: OpenBaoServer, token: str) -> bool:
    headers = {"X-Vault-Token": token}
    return httpx.get(f"{server.url}/v1/auth/token/lookup-self", headers=headers).is_success


def bao(server: OpenBaoServer, token: str, command: str, typed: str = "") -> str:
    """What the store's own program says to a command that we were given."""
    program = Path(sys.executable).with_name("bao")
    words = [str(program), *shlex.split(command)[1:]]
    environment = {**os.environ, "BAO_ADDR": server.url, "BAO_TOKEN": token}
    ran = subprocess.run(
        words, env=environment, input=typed, capture_output=True, text=True, timeout=20, check=True
    )
    return ran.stdout


def in_a_shell(server: OpenBaoServer, token: str, command: str, typed: str) -> None:
    """Types a command that we were given, with the store's own program at hand."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "BAO_ADDR": server.url, "BAO_TOKEN": token, "PATH": path},
        input=typed, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip


def test_the_way_to_a_value_is_told_without_anything_that_opens_it(
    idp: Idp, openbao_server: OpenBaoServer
) -> None:
    said = idp("secret", "login", KEY)
    assert f"{openbao_server.url}/ui/app-key" in said
    assert "bao kv get -version=1 -mount=kv teams/" in said
    assert "none made" in said
    assert f"signed in as   team-{TEAM}-write" in said
    assert "hvs." not in said
    assert "eyJ" not in said
    assert VALUE not in said
    assert granted(idp)["token"] is None


def test_the_commands_that_are_told_read_and_set_the_value(
    idp: Idp, openbao_server: OpenBaoServer
) -> None:
    access = granted(idp, "--print-token")
    token = access["token"]
    assert VALUE in bao(openbao_server, token, access["readCommand"])
    for version in (2, 3):
        typed = f"another-{version}"
        in_a_shell(openbao_server, token, access["setCommand"], typed)
        newest = access["readCommand"].replace("-version=1", f"-version={version}")
        assert typed in bao(openbao_server, token, newest)
    assert datetime.fromisoformat(access["tokenExpiresAt"]) > datetime.now(UTC)


def test_a_token_file_is_for_its_owner_s_eyes(
    idp: Idp, openbao_server: OpenBaoServer, tmp_path: Path
) -> None:
    file = tmp_path / "store.token"
    file.write_text("an older one")
    file.chmod(0o644)
    access = granted(idp, "--store-token-file", str(file))
    assert access["token"] is None
    assert access["tokenFile"] == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert VALUE in bao(openbao_server, file.read_text(), access["readCommand"])


def test_a_command_finds_the_token_in_its_environment_only(idp: Idp) -> None:
    look = (
        "import os, sys; names = ['BAO_TOKEN', 'VAULT_TOKEN', 'BAO_ADDR', 'VAULT_ADDR'];"
        "print(*(os.environ[name] for name in names)); print(sys.argv, '--output')"
    )
    said = idp("secret", "login", KEY, "--exec", sys.executable, "-c", look, "--output")
    told, argv = said.splitlines()
    token, also, address, here = told.split()
    assert (token, address) == (also, here)
    assert token not in argv
    assert "--output" in argv
    assert token not in os.environ.values()
    assert "BAO_TOKEN" not in os.environ


LOOKS = "import os, sys; print(os.environ['BAO_TOKEN'], flush=True); "


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (LOOKS, 0),
        (LOOKS + "sys.exit(7)", 7),
        (LOOKS + "os.kill(os.getpid(), 15)", 143),
    ],
)
def test_the_token_of_a_command_ends_with_it(
    idp: Idp, openbao_server: OpenBaoServer, program: str, code: int
) -> None:
    said = idp("secret", "login", KEY, "--exec", sys.executable, "-c", program, code=code)
    assert not is_alive(openbao_server, said.split()[0])


def test_a_command_may_end_its_token_itself(idp: Idp, openbao_server: OpenBaoServer) -> None:
    program = str(Path(sys.executable).with_name("bao"))
    before = live_tokens(openbao_server)
    idp("secret", "login", KEY, "--exec", program, "token", "revoke", "-self")
    assert live_tokens(openbao_server) == before


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), ExitCode.OK),
        (("--exec", "no-such-program"), ExitCode.FAILED),
        (("--store-token-file", "/proc/no/such"), ExitCode.FAILED),
    ],
)
def test_no_token_stays_that_nobody_has(
    idp: Idp, openbao_server: OpenBaoServer, options: tuple[str, ...], code: ExitCode
) -> None:
    before = live_tokens(openbao_server)
    idp("secret", "login", KEY, *options, code=code)
    assert live_tokens(openbao_server) == before


def test_a_token_that_is_asked_for_stays(
    idp: Idp, openbao_server: OpenBaoServer, tmp_path: Path
) -> None:
    file = tmp_path / "store.token"
    exits = ("--exec", sys.executable, "-c", "")
    idp("secret", "login", KEY, "--store-token-file", str(file), *exits)
    assert is_alive(openbao_server, file.read_text())
    assert is_alive(openbao_server, granted(idp, "--print-token")["token"])


def test_the_store_s_own_program_reads_the_value(idp: Idp) -> None:
    program = str(Path(sys.executable).with_name("bao"))
    words = shlex.split(granted(idp)["readCommand"])[1:]
    said = idp("secret", "login", KEY, "--exec", program, *words[:2], "-field=value", *words[2:])
    assert said.strip() == VALUE


def test_the_command_s_exit_code_is_ours(idp: Idp) -> None:
    exits = ("--exec", sys.executable, "-c", "raise SystemExit(7)")
    idp("secret", "login", KEY, *exits, code=7)
    killed = ("--exec", "sh", "-c", "kill -TERM $$")
    idp("secret", "login", KEY, *killed, code=143)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--exec", "no-such-program"), "command_not_run"),
        (("--exec",), "invalid_input"),
        (("bao", "kv", "get"), "invalid_input"),
        (("--store-token-file", "/proc/no/such"), "token_file_unwritable"),
    ],
)
def test_what_cannot_be_done_with_the_token_is_told(
    idp: Idp, options: tuple[str, ...], code: str
) -> None:
    assert f"code  {code}" in idp("secret", "login", KEY, *options, code=ExitCode.FAILED)


def test_a_login_that_the_store_refuses_is_told_without_showing_it(
    idp: Idp, platform: StandInPlatform, openbao_server: OpenBaoServer
) -> None:
    platform.store_login = signed(openbao_server, "another-team")
    said = idp("secret", "login", KEY, "--print-token", code=ExitCode.FAILED)
    assert f"secret show {max(platform.secrets)}" in said
    assert "code  store_login_refused" in said
    assert platform.store_login not in said


def test_a_store_that_is_away_is_told_apart(idp: Idp, platform: StandInPlatform) -> None:
    platform.store_url = f"http://127.0.0.1:{free_port()}"
    said = idp("secret", "login", KEY, "--print-token", code=ExitCode.UNREACHABLE)
    assert "secret-store" in said


def read_with_bao(idp: Idp, *, code: int = ExitCode.OK) -> str:
    """What the command that is told says, in a login's environment."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    shell = ("env", f"PATH={path}", "sh", "-c", granted(idp)["readCommand"])
    return idp("secret", "login", KEY, "--exec", *shell, code=code)


def test_a_store_that_an_authority_of_its_own_vouches_for(
    idp: Idp, platform: StandInPlatform, openbao_server: OpenBaoServer, tmp_path: Path
) -> None:
    with tls_way(openbao_server.url, tmp_path) as way:
        platform.store_url = way.url
        said = idp("secret", "login", KEY, "--print-token", code=ExitCode.UNREACHABLE)
        assert "its certificate is not trusted" in said
        platform.store_authorities = way.authorities
        assert VALUE in read_with_bao(idp)
        assert "authorities of its own" in idp("secret", "login", KEY)
        assert granted(idp)["authorities"] == way.authorities


def test_a_store_whose_secrets_are_in_a_namespace(
    idp: Idp,
    platform: StandInPlatform,
    openbao_server: OpenBaoServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    namespace, value = f"company-{new_id()[-12:]}", "the value in the namespace"
    (secret,) = platform.secrets.values()
    as_root(openbao_server, "POST", f"sys/namespaces/{namespace}", {})
    for path, body in (
        ("sys/mounts/kv", {"type": "kv", "options": {"version": "2"}}),
        ("sys/auth/jwt", {"type": "jwt"}),
        ("auth/jwt/config", {"jwt_validation_pubkeys": [openbao_server.login_key.public_pem]}),
    ):
        as_root(openbao_server, "POST", f"{namespace}/{path}", body)
    let_team_in(openbao_server, f"{namespace}/")
    keep(openbao_server, f"{namespace}/kv/metadata/{secret.store_path}", value)
    monkeypatch.setenv("VAULT_NAMESPACE", "another")
    assert VALUE in read_with_bao(idp), "of the root, whatever this shell is used to"
    platform.store_namespace = namespace
    assert value in read_with_bao(idp)
    access = granted(idp, "--print-token")
    in_a_shell(openbao_server, access["token"], access["setCommand"], "another value")
    newest = access["readCommand"].replace("-version=1", "-version=2")
    assert "another value" in bao(openbao_server, access["token"], newest)
    assert f"namespace      {namespace}" in idp("secret", "login", KEY)
