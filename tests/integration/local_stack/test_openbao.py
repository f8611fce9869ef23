"""OpenBao of the embedded default: what the workers may, and what a restart keeps."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from idp_kernel.errors import Conflict, Unavailable
from idp_kernel.tokens import (
    AUDIENCE_SECRET_STORE,
    SigningKey,
    StoreAccess,
    issue_store_login,
    store_role,
)
from local_stack import openbao_setup
from local_stack.openbao_setup import (
    APP_ROLES,
    CONSUMER,
    WORKERS,
    AppRole,
    OpenBaoAddress,
    ensure_set_up,
)
from tests.fixtures.stack import OpenBaoServer, child, free_port, private_directory

LOGIN_KEY = SigningKey.generate("logins-of-the-tests")


def call(
    url: str, token: str | None, method: str, path: str, body: dict[str, Any] | None = None
) -> httpx.Response:
    headers = {"X-Vault-Token": token} if token else {}
    return httpx.request(method, f"{url}/v1/{path}", json=body, headers=headers, trust_env=False)


def login(address: OpenBaoAddress, role: AppRole = WORKERS) -> str:
    credentials = json.loads(address.credentials_file(role).read_bytes())
    answer = call(address.url, None, "POST", "auth/approle/login", credentials)
    return str(answer.raise_for_status().json()["auth"]["client_token"])


@pytest.fixture
def workers(openbao_server: OpenBaoServer) -> str:
    """The token of execution-workers."""
    return login(openbao_server.address)


def test_workers_write_with_check_and_set_and_read_it_back(
    openbao_server: OpenBaoServer, workers: str
) -> None:
    path = "kv/data/teams/payments/apps/shop/dev/app-key"
    url = openbao_server.url
    body = {"data": {"value": "first"}, "options": {"cas": 0}}
    assert call(url, workers, "POST", path, body).json()["data"]["version"] == 1
    assert call(url, workers, "POST", path, body).status_code == 400
    second = {"data": {"value": "second"}, "options": {"cas": 1}}
    assert call(url, workers, "POST", path, second).json()["data"]["version"] == 2
    kept = [call(url, workers, "GET", f"{path}?version={number}").json() for number in (1, 2)]
    assert [each["data"]["data"]["value"] for each in kept] == ["first", "second"]


def test_workers_end_single_versions(openbao_server: OpenBaoServer, workers: str) -> None:
    url, name = openbao_server.url, "teams/payments/rotated"
    for value in ("first", "second", "third"):
        call(url, workers, "POST", f"kv/data/{name}", {"data": {"value": value}}).raise_for_status()
    call(url, workers, "POST", f"kv/delete/{name}", {"versions": [1]}).raise_for_status()
    call(url, workers, "POST", f"kv/destroy/{name}", {"versions": [1, 2]}).raise_for_status()
    assert call(url, workers, "POST", f"kv/undelete/{name}", {"versions": [1]}).status_code == 403
    reads = [call(url, workers, "GET", f"kv/data/{name}?version={each}") for each in (1, 2, 3)]
    assert [read.status_code for read in reads] == [404, 404, 200]


def test_workers_undo_a_secret_as_a_whole(openbao_server: OpenBaoServer, workers: str) -> None:
    url, name = openbao_server.url, "teams/payments/undone"
    call(url, workers, "POST", f"kv/data/{name}", {"data": {"value": "x"}}).raise_for_status()
    assert call(url, workers, "DELETE", f"kv/data/{name}").status_code == 403
    call(url, workers, "DELETE", f"kv/metadata/{name}").raise_for_status()
    root = openbao_server.root_token
    assert call(url, root, "GET", f"kv/data/{name}").status_code == 404


def team_role(openbao_server: OpenBaoServer, team: str, access: StoreAccess) -> str:
    """A team's policy and role as execution-workers write them; answers the role's name."""
    url, token, role = openbao_server.url, login(openbao_server.address), store_role(team, access)
    policy = f'path "kv/data/teams/{team}/*" {{\n  capabilities = ["read"]\n}}\n'
    call(url, token, "PUT", f"sys/policies/acl/{role}", {"policy": policy}).raise_for_status()
    settings = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [AUDIENCE_SECRET_STORE],
        "bound_claims": {"team": team, "access": access.value},
        "token_policies": [role],
        "token_ttl": "15m",
    }
    call(url, token, "POST", f"auth/jwt/role/{role}", settings).raise_for_status()
    return role


def signed_login(
    key: SigningKey,
    team: str,
    access: StoreAccess,
    *,
    age: timedelta = timedelta(0),
) -> str:
    now = datetime.now(UTC) - age
    until = now + timedelta(minutes=5)
    return issue_store_login(key, "ann", team=team, access=access, now=now, until=until)


def exchange(openbao_server: OpenBaoServer, role: str, jwt: str) -> httpx.Response:
    body = {"role": role, "jwt": jwt}
    return call(openbao_server.url, None, "POST", "auth/jwt/login", body)


def test_a_person_exchanges_a_signed_login_for_the_teams_secrets(
    openbao_server: OpenBaoServer, workers: str
) -> None:
    url = openbao_server.url
    for team in ("payments", "search"):
        body = {"data": {"value": f"of {team}"}}
        call(url, workers, "POST", f"kv/data/teams/{team}/own", body).raise_for_status()
    role = team_role(openbao_server, "payments", StoreAccess.READ)
    jwt = signed_login(openbao_server.login_key, "payments", StoreAccess.READ)
    answer = exchange(openbao_server, role, jwt).raise_for_status().json()
    token = answer["auth"]["client_token"]
    own = call(url, token, "GET", "kv/data/teams/payments/own").json()
    assert own["data"]["data"] == {"value": "of payments"}
    assert call(url, token, "GET", "kv/data/teams/search/own").status_code == 403


@pytest.mark.parametrize(
    ("team", "access", "age"),
    [
        ("search", StoreAccess.READ, timedelta(0)),
        ("payments", StoreAccess.WRITE, timedelta(0)),
        ("payments", StoreAccess.READ, timedelta(hours=1)),
    ],
)
def test_a_login_opens_only_what_it_says_while_it_is_good(
    openbao_server: OpenBaoServer, team: str, access: StoreAccess, age: timedelta
) -> None:
    role = team_role(openbao_server, "payments", StoreAccess.READ)
    jwt = signed_login(openbao_server.login_key, team, access, age=age)
    assert exchange(openbao_server, role, jwt).is_client_error


def test_only_the_present_key_of_the_control_plane_counts(openbao_server: OpenBaoServer) -> None:
    role = team_role(openbao_server, "payments", StoreAccess.READ)
    before = signed_login(openbao_server.login_key, "payments", StoreAccess.READ)
    after = signed_login(LOGIN_KEY, "payments", StoreAccess.READ)
    assert exchange(openbao_server, role, after).is_client_error
    try:
        ensure_set_up(openbao_server.address, LOGIN_KEY)
        assert exchange(openbao_server, role, before).is_client_error
        assert exchange(openbao_server, role, after).is_success
    finally:
        ensure_set_up(openbao_server.address, openbao_server.login_key)


def test_the_program_reads_the_key_from_its_file(
    openbao_server: OpenBaoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file = tmp_path / "control-plane.signing-key.json"
    LOGIN_KEY.write(key_file)
    monkeypatch.setenv("IDP_OPENBAO_PORT", str(openbao_server.address.port))
    monkeypatch.setenv("IDP_OPENBAO_KEYS_DIR", str(openbao_server.address.keys_dir))
    monkeypatch.setenv("IDP_OPENBAO_LOGIN_KEY_FILE", str(key_file))
    role = team_role(openbao_server, "payments", StoreAccess.READ)
    try:
        openbao_setup.main()
        signed = signed_login(LOGIN_KEY, "payments", StoreAccess.READ)
        assert exchange(openbao_server, role, signed).is_success
    finally:
        ensure_set_up(openbao_server.address, openbao_server.login_key)


def test_the_store_holds_the_public_half_only(openbao_server: OpenBaoServer) -> None:
    told = call(openbao_server.url, openbao_server.root_token, "GET", "auth/jwt/config").json()
    assert told["data"]["jwt_validation_pubkeys"] == [openbao_server.login_key.public_pem]
    assert "PRIVATE" not in str(told)


def test_the_consumer_reads_what_it_is_given_and_writes_nothing(
    openbao_server: OpenBaoServer, workers: str
) -> None:
    url, path = openbao_server.url, "kv/data/teams/payments/appenv/shop-dev/consumed"
    elsewhere = "kv/data/teams/payments/consumed"
    for each in (path, elsewhere):
        call(url, workers, "POST", each, {"data": {"value": "x"}}).raise_for_status()
    consumer = login(openbao_server.address, CONSUMER)
    assert call(url, consumer, "GET", f"{path}?version=1").is_success
    for method, refused in (
        ("POST", path),
        ("GET", elsewhere),
        ("GET", f"{path}/further"),
        ("POST", path.replace("data", "destroy", 1)),
        ("GET", path.replace("data", "metadata", 1)),
        ("LIST", "kv/metadata/teams/payments"),
        ("GET", "kv/data/platform/root"),
    ):
        assert call(url, consumer, method, refused).status_code == 403


def test_workers_manage_team_policies_and_no_others(
    openbao_server: OpenBaoServer, workers: str
) -> None:
    url, body = openbao_server.url, {"policy": 'path "kv/data/teams/a/*" {\n}\n'}
    call(url, workers, "PUT", "sys/policies/acl/team-a", body).raise_for_status()
    assert call(url, workers, "DELETE", "sys/policies/acl/team-a").status_code == 403
    assert call(url, workers, "PUT", "sys/policies/acl/idp-workers", body).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "kv/data/platform/root"),
        ("LIST", "kv/metadata/teams/"),
        ("GET", "sys/mounts"),
        ("POST", "auth/approle/role/execution-workers/secret-id"),
        ("POST", "sys/seal"),
        ("GET", "auth/jwt/config"),
        ("POST", "auth/jwt/config"),
        ("POST", "auth/jwt/role/another"),
        ("DELETE", "auth/jwt/role/team-payments-read"),
    ],
)
def test_workers_reach_nothing_else(
    openbao_server: OpenBaoServer, workers: str, method: str, path: str
) -> None:
    assert call(openbao_server.url, workers, method, path).status_code == 403


def test_nothing_is_told_without_a_token(openbao_server: OpenBaoServer) -> None:
    assert call(openbao_server.url, None, "GET", "kv/data/teams/payments/x").status_code == 403
    assert call(openbao_server.url, None, "GET", "sys/metrics").status_code in (400, 403)


def test_key_files_are_private(openbao_server: OpenBaoServer) -> None:
    keys = list(openbao_server.address.keys_dir.iterdir())
    assert {key.name for key in keys} == {
        "openbao-consumer.json",
        "openbao-init.json",
        "openbao-seal.key",
        "openbao-workers.json",
    }
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_setup_may_be_repeated_and_keeps_credentials(openbao_server: OpenBaoServer) -> None:
    files = [openbao_server.address.credentials_file(role) for role in APP_ROLES]
    before = [file.read_bytes() for file in files]
    ensure_set_up(openbao_server.address, openbao_server.login_key)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize("role", APP_ROLES, ids=lambda role: role.name)
def test_lost_credentials_are_replaced_and_end(
    openbao_server: OpenBaoServer, role: AppRole
) -> None:
    file = openbao_server.address.credentials_file(role)
    lost = json.loads(file.read_bytes())
    file.unlink()
    ensure_set_up(openbao_server.address, openbao_server.login_key)
    login(openbao_server.address, role)
    assert call(openbao_server.url, None, "POST", "auth/approle/login", lost).is_error


@contextmanager
def own_server(home: Path, port: int, cluster_port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "IDP_OPENBAO_DATA_DIR": str(home / "data"),
        "IDP_OPENBAO_PORT": str(port),
        "IDP_OPENBAO_CLUSTER_PORT": str(cluster_port),
        "IDP_OPENBAO_KEYS_DIR": str(home / "keys"),
    }
    with child("local_stack.openbao", environment, home) as process:
        yield process


def test_secrets_survive_a_kill_sealed_on_disk_and_audited() -> None:
    with private_directory("idp-openbao-") as home:
        port, cluster_port = free_port(), free_port()
        address = OpenBaoAddress(port, home / "keys")
        path, value = "kv/data/teams/payments/kept", "a-value-nobody-should-find"
        with own_server(home, port, cluster_port) as first:
            ensure_set_up(address, LOGIN_KEY)
            body = {"data": {"value": value}}
            call(address.url, login(address), "POST", path, body).raise_for_status()
            first.kill()
            first.wait()
        with own_server(home, port, cluster_port):
            ensure_set_up(address, LOGIN_KEY)
            root_token = json.loads(address.init_file.read_bytes())["root_token"]
            answer = call(address.url, root_token, "GET", path).json()
            assert answer["data"]["data"] == {"value": value}
        on_disk = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
        assert b"kv/data/teams/payments/kept" in (home / "data" / "audit.log").read_bytes()
        assert value.encode() not in on_disk
        with own_server(home, port, cluster_port):
            address.init_file.unlink()
            with pytest.raises(Conflict, match="root token"):
                ensure_set_up(address, LOGIN_KEY)


@pytest.mark.endurance
def test_an_initialisation_that_was_cut_off_begins_anew() -> None:
    with private_directory("idp-openbao-") as home:
        port, cluster_port = free_port(), free_port()
        address = OpenBaoAddress(port, home / "keys")
        # A folder in the file's place ends the set-up between `sys/init` and keeping its answer.
        address.init_file.mkdir(parents=True)
        with own_server(home, port, cluster_port):
            with pytest.raises(IsADirectoryError):
                ensure_set_up(address, LOGIN_KEY)
            address.init_file.rmdir()
            with pytest.raises(Conflict, match="start it again"):
                ensure_set_up(address, LOGIN_KEY)
        with own_server(home, port, cluster_port):
            ensure_set_up(address, LOGIN_KEY)
            assert login(address)
            assert not address.initialising_file.exists()


def test_waiting_for_no_server_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not ready"):
        ensure_set_up(OpenBaoAddress(free_port(), tmp_path), LOGIN_KEY, timeout_seconds=0.1)
