"""What becomes of a token of the store at its end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from idp_cli.store_login import REVOCATION, SECRET_STORE, StoreToken, revoke
from idp_kernel.errors import Unavailable
from idp_kernel.http.client import ServiceClient

TOKEN = StoreToken("a-token-of-the-store", datetime(2026, 1, 1, 12, 30, tzinfo=UTC))


class Store:
    """Answers each call alike, or not at all."""

    def __init__(self, status: int | None) -> None:
        self._status = status
        self.came: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.came.append(request)
        if self._status is None:
            raise httpx.ConnectError("away", request=request)
        return httpx.Response(self._status, json={"errors": ["permission denied"]})


@pytest.fixture
def client(store: Store) -> Iterator[ServiceClient]:
    transport = httpx.MockTransport(store)
    made = ServiceClient("http://store.example.test", party=SECRET_STORE, transport=transport)
    yield made
    made.close()


@pytest.mark.parametrize("store", [Store(204), Store(403)], ids=["ends now", "had ended"])
def test_a_token_is_ended_by_itself(store: Store, client: ServiceClient) -> None:
    revoke(TOKEN, client)
    (request,) = store.came
    assert request.url.path == REVOCATION
    assert request.headers["Authorization"] == f"Bearer {TOKEN.token}"


@pytest.mark.parametrize("store", [Store(None), Store(503)], ids=["away", "sealed"])
def test_a_token_that_stays_is_told_with_its_end_and_not_shown(client: ServiceClient) -> None:
    with pytest.raises(Unavailable) as raised:
        revoke(TOKEN, client)
    assert raised.value.code == "store_token_left"
    assert "ends by itself at 12:30:00Z" in raised.value.message
    assert TOKEN.token not in raised.value.message
