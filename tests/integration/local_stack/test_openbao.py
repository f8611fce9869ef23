"""OpenBao of the embedded default: what the workers may, and what a restart keeps."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from idp_kernel.errors import Conflict, Unavailable
from local_stack.openbao_setup import OpenBaoAddress, ensure_set_up
from tests.fixtures.stack import OpenBaoServer, child, free_port, private_directory


def call(
    url: str, token: str | None, method: str, path: str, body: dict[str, Any] | None = None
) -> httpx.Response:
    headers = {"X-Vault-Token": token} if token else {}
    return httpx.request(method, f"{url}/v1/{path}", json=body, headers=headers, trust_env=False)


def login(address: OpenBaoAddress) -> str:
    credentials = json.loads(address.workers_file.read_bytes())
    answer = call(address.url, None, "POST", "auth/approle/login", credentials)
    return str(answer.raise_for_status().json()["auth"]["client_token"])


@pytest.fixture
def workers(openbao_server: OpenBaoServer) -> str:
    """The token of execution-workers."""
    return login(openbao_server.address)


def test_workers_write_with_check_and_set_and_never_read(
    openbao_server: OpenBaoServer, workers: str
) -> None:
    path = "kv/data/teams/payments/apps/shop/dev/app-key"
    url = openbao_server.url
    body = {"data": {"value": "first"}, "options": {"cas": 0}}
    assert call(url, workers, "POST", path, body).json()["data"]["version"] == 1
    assert call(url, workers, "POST", path, body).status_code == 400
    second = {"data": {"value": "second"}, "options": {"cas": 1}}
    assert call(url, workers, "POST", path, second).json()["data"]["version"] == 2
    assert call(url, workers, "GET", path).status_code == 403
    kept = call(url, openbao_server.root_token, "GET", path).json()["data"]["data"]
    assert kept == {"value": "second"}


def test_workers_undo_a_secret_as_a_whole(openbao_server: OpenBaoServer, workers: str) -> None:
    url, name = openbao_server.url, "teams/payments/undone"
    call(url, workers, "POST", f"kv/data/{name}", {"data": {"value": "x"}}).raise_for_status()
    for operation in ("delete", "undelete", "destroy"):
        body = {"versions": [1]}
        assert call(url, workers, "POST", f"kv/{operation}/{name}", body).status_code == 403
    assert call(url, workers, "DELETE", f"kv/data/{name}").status_code == 403
    call(url, workers, "DELETE", f"kv/metadata/{name}").raise_for_status()
    root = openbao_server.root_token
    assert call(url, root, "GET", f"kv/data/{name}").status_code == 404


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
        "openbao-init.json",
        "openbao-seal.key",
        "openbao-workers.json",
    }
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_setup_may_be_repeated_and_keeps_credentials(openbao_server: OpenBaoServer) -> None:
    before = openbao_server.workers_file.read_bytes()
    ensure_set_up(openbao_server.address)
    assert openbao_server.workers_file.read_bytes() == before


def test_lost_workers_credentials_are_replaced_and_end(openbao_server: OpenBaoServer) -> None:
    lost = json.loads(openbao_server.workers_file.read_bytes())
    openbao_server.workers_file.unlink()
    ensure_set_up(openbao_server.address)
    login(openbao_server.address)
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
            ensure_set_up(address)
            body = {"data": {"value": value}}
            call(address.url, login(address), "POST", path, body).raise_for_status()
            first.kill()
            first.wait()
        with own_server(home, port, cluster_port):
            ensure_set_up(address)
            root_token = json.loads(address.init_file.read_bytes())["root_token"]
            answer = call(address.url, root_token, "GET", path).json()
            assert answer["data"]["data"] == {"value": value}
        on_disk = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
        assert b"kv/data/teams/payments/kept" in (home / "data" / "audit.log").read_bytes()
        assert value.encode() not in on_disk
        with own_server(home, port, cluster_port):
            address.init_file.unlink()
            with pytest.raises(Conflict, match="root token"):
                ensure_set_up(address)


def test_an_initialisation_that_was_cut_off_begins_anew() -> None:
    with private_directory("idp-openbao-") as home:
        port, cluster_port = free_port(), free_port()
        address = OpenBaoAddress(port, home / "keys")
        # A folder in the file's place ends the set-up between `sys/init` and keeping its answer.
        address.init_file.mkdir(parents=True)
        with own_server(home, port, cluster_port):
            with pytest.raises(IsADirectoryError):
                ensure_set_up(address)
            address.init_file.rmdir()
            with pytest.raises(Conflict, match="start it again"):
                ensure_set_up(address)
        with own_server(home, port, cluster_port):
            ensure_set_up(address)
            assert login(address)
            assert not address.initialising_file.exists()


def test_waiting_for_no_server_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not ready"):
        ensure_set_up(OpenBaoAddress(free_port(), tmp_path), timeout_seconds=0.1)
