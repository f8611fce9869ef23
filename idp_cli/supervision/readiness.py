"""When a program that was started can do its work."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Protocol

from idp_cli.supervision.remote import ProcessInfo, ProcessState
from idp_kernel.errors import PlatformError
from idp_kernel.http.client import ServiceClient
from idp_kernel.services import LOOPBACK

PROBE_TIMEOUT_SECONDS = 3.0


class Readiness(Protocol):
    """Looks at a program from outside."""

    def is_ready(self, info: ProcessInfo) -> bool:
        """One look, which takes at most `PROBE_TIMEOUT_SECONDS`."""
        ...


@dataclass(frozen=True)
class Listens:
    """A server that accepts connections on a loopback port."""

    port: int

    def is_ready(self, info: ProcessInfo) -> bool:
        if not info.state.is_alive:
            return False
        try:
            socket.create_connection((LOOPBACK, self.port), PROBE_TIMEOUT_SECONDS).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class SaysReady:
    """A server whose own answer to `path` says that it can work."""

    port: int
    path: str = "/readyz"

    def is_ready(self, info: ProcessInfo) -> bool:
        return info.state.is_alive and self.complaint(info.name) is None

    def complaint(self, name: str) -> str | None:
        """What the server says stands in its way; `None` when nothing does."""
        client = ServiceClient(
            f"http://{LOOPBACK}:{self.port}", party=name, timeout_seconds=PROBE_TIMEOUT_SECONDS
        )
        try:
            client.send("GET", self.path)
        except PlatformError as error:
            return error.message
        finally:
            client.close()
        return None


@dataclass(frozen=True)
class Runs:
    """A program without a port: it is there once it was started."""

    def is_ready(self, info: ProcessInfo) -> bool:
        return info.state.is_alive


@dataclass(frozen=True)
class HasEnded:
    """A set-up that does its work and ends well."""

    def is_ready(self, info: ProcessInfo) -> bool:
        return (
            info.state == ProcessState.EXITED
            and info.started_at is not None
            and info.exit_status == 0
        )
