"""The store's answers as the consumer takes them, on a pretend store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from idp_kernel.errors import InvalidInput, NotFound, PlatformError, ProviderRejected, Unavailable
from idp_kernel.services import LOOPBACK
from local_stack.consumer.store import SecretStore
from tests.fixtures.stack import free_port

VALUE = "a-value-nobody-should-find"
LOGIN = {
    "host": LOOPBACK,
    "port": "5432",
    "database": "applications",
    "username": "somebody",
    "password": VALUE,
    "idp_request_id": "some-request",
}
PATH = "teams/payments/orders-db"


class PretendStore:
    """Answers as it is told; knows the token it gave last."""

    def __init__(self) -> None:
        self.status = 200
        self.login_status = 200
        self.properties: dict[str, Any] = LOGIN
        self.asked: list[str] = []
        self.token = 0
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                store.asked.append(self.path)
                known = self.headers["X-Vault-Token"] == f"token-{store.token}"
                status = store.status if known else 403
                self._answer(status, {"data": {"data": store.properties}})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                store.asked.append(self.path)
                store.token += 1
                token = f"token-{store.token}"
                self._answer(store.login_status, {"auth": {"client_token": token}})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body if status == 200 else {"errors": [VALUE]}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)

    def end_tokens(self) -> None:
        self.token += 100


@pytest.fixture
def pretend() -> Iterator[PretendStore]:
    pretend = PretendStore()
    thread = threading.Thread(target=pretend.server.serve_forever, args=(0.02,))
    thread.start()
    yield pretend
    pretend.server.shutdown()
    thread.join()
    pretend.server.server_close()


@pytest.fixture
def approle(tmp_path: Path) -> Path:
    file = tmp_path / "openbao-consumer.json"
    file.write_text('{"role_id": "r", "secret_id": "s"}')
    return file


@pytest.fixture
def store(pretend: PretendStore, approle: Path) -> Iterator[SecretStore]:
    store = SecretStore(f"http://{LOOPBACK}:{pretend.server.server_port}", approle)
    yield store
    store.close()


def test_exactly_the_pinned_version_is_asked_for_with_one_login(
    store: SecretStore, pretend: PretendStore
) -> None:
    login = store.database_login(PATH, 3)
    assert (login.username, login.port) == ("somebody", 5432)
    assert login.password.get_secret_value() == VALUE
    store.database_login(PATH, 4)
    assert pretend.asked == [
        "/v1/auth/approle/login",
        f"/v1/kv/data/{PATH}?version=3",
        f"/v1/kv/data/{PATH}?version=4",
    ]


def test_a_token_that_ended_is_replaced(store: SecretStore, pretend: PretendStore) -> None:
    store.database_login(PATH, 3)
    pretend.end_tokens()
    assert store.database_login(PATH, 3).username == "somebody"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (403, ProviderRejected),
        (400, ProviderRejected),
        (429, Unavailable),
        (503, Unavailable),
    ],
)
def test_refusals_tell_what_to_do_and_no_value(
    store: SecretStore, pretend: PretendStore, status: int, error: type[PlatformError]
) -> None:
    pretend.status = status
    with pytest.raises(error) as caught:
        store.database_login(PATH, 3)
    assert VALUE not in caught.value.message


def test_credentials_that_are_refused_are_told(store: SecretStore, pretend: PretendStore) -> None:
    pretend.login_status = 400
    with pytest.raises(ProviderRejected, match="refused to log in"):
        store.database_login(PATH, 3)


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {**LOGIN, "port": VALUE},
        {**LOGIN, "host": f"{VALUE}/.."},
        {**LOGIN, "username": ""},
        {**LOGIN, "password": None},
        {"value": VALUE},
    ],
)
def test_what_is_no_login_is_told_without_its_values(
    store: SecretStore, pretend: PretendStore, properties: dict[str, Any]
) -> None:
    pretend.properties = properties
    with pytest.raises(InvalidInput, match="no database login in version 3") as caught:
        store.database_login(PATH, 3)
    assert VALUE not in f"{caught.value.message} {caught.value.__cause__}"


def test_a_store_that_is_away_is_told(approle: Path) -> None:
    store = SecretStore(f"http://{LOOPBACK}:{free_port()}", approle)
    with pytest.raises(Unavailable, match="gave no answer"):
        store.database_login(PATH, 3)
    store.close()


def test_credentials_that_are_not_there_yet_are_told(pretend: PretendStore, tmp_path: Path) -> None:
    store = SecretStore(f"http://{LOOPBACK}:{pretend.server.server_port}", tmp_path / "none")
    with pytest.raises(Unavailable, match="cannot be read"):
        store.database_login(PATH, 3)
    store.close()
