"""The control plane as the process it really is, over real sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import httpx

from idp_kernel.services import LOOPBACK
from tests.fixtures.stack import FreshDatabase, child, free_port, private_directory
from tests.integration.control_plane.conftest import Keys

READY_WITHIN_SECONDS = 90


@dataclass(frozen=True)
class Process:
    """`python -m control_plane.main`."""

    url: str
    port: int
    process: Popen[bytes]
    log: Path


@contextmanager
def served(database: FreshDatabase, keys: Keys, **settings: str) -> Iterator[Process]:
    """The process, ready, while the block lasts; settings by their variables."""
    port = free_port()
    environment = {
        "IDP_CONTROL_PLANE_PORT": str(port),
        "IDP_CONTROL_PLANE_DATABASE_URL": database.url,
        "IDP_CONTROL_PLANE_SIGNING_KEY_FILE": str(keys.signing_key_file),
        "IDP_CONTROL_PLANE_SERVICE_KEYS_FILE": str(keys.service_keys_file),
        **settings,
    }
    with (
        private_directory("idp-control-plane-") as home,
        child("control_plane.main", environment, home) as process,
    ):
        log = home / "control_plane.main.log"
        server = Process(f"http://{LOOPBACK}:{port}", port, process, log)
        wait_until_ready(server)
        yield server


def wait_until_ready(server: Process) -> None:
    give_up_at = time.monotonic() + READY_WITHIN_SECONDS
    while not is_ready(server):
        assert server.process.poll() is None, server.log.read_text()
        assert time.monotonic() < give_up_at, server.log.read_text()
        time.sleep(0.05)


def is_ready(server: Process) -> bool:
    try:
        return httpx.get(f"{server.url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
