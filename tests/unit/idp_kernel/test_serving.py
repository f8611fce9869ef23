"""What every server is run with, against what every client counts on."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from idp_kernel.http.serving import serving
from idp_kernel.services import LOOPBACK


def test_a_server_keeps_a_connection_longer_than_clients_do() -> None:
    """Otherwise a request now and then meets the server's close, and is without an answer."""
    clients_keep_seconds = httpx.Limits().keepalive_expiry
    assert clients_keep_seconds is not None
    config = serving(FastAPI(), host=LOOPBACK, port=0, stop_within_seconds=1)
    assert config.timeout_keep_alive > 2 * clients_keep_seconds
