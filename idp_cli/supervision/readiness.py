"""When a program that was started can do its work."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from idp_cli.supervision.logs import tail
from idp_cli.supervision.remote import ProcessInfo, ProcessState
from idp_kernel.errors import PlatformError
from idp_kernel.http.client import ServiceClient
from idp_kernel.services import LOOPBACK

PROBE_TIMEOUT_SECONDS = 3.0
_LOG_LINES = 200


class Readiness(Protocol):
    """Looks at a program from outside; each look takes at most `PROBE_TIMEOUT_SECONDS`."""

    def is_ready(self, info: ProcessInfo) -> bool:
        """Whether it has come up since it was last started."""
        ...

    def complaint(self, info: ProcessInfo) -> str | None:
        """What is wrong with it just now; `None` when nothing is."""
        ...


@dataclass(frozen=True)
class Listens:
    """A server that accepts connections on a loopback port."""

    port: int

    def is_ready(self, info: ProcessInfo) -> bool:
        return self.complaint(info) is None

    def complaint(self, info: ProcessInfo) -> str | None:
        if not info.state.is_alive:
            return _not_alive(info)
        try:
            socket.create_connection((LOOPBACK, self.port), PROBE_TIMEOUT_SECONDS).close()
        except OSError as error:
            return f"it does not answer on port {self.port}: {error.strerror or error}"
        return None


@dataclass(frozen=True)
class SaysReady:
    """A server whose own answer to `path` says that it can work."""

    port: int
    path: str = "/readyz"

    def is_ready(self, info: ProcessInfo) -> bool:
        return self.complaint(info) is None

    def complaint(self, info: ProcessInfo) -> str | None:
        if not info.state.is_alive:
            return _not_alive(info)
        url = f"http://{LOOPBACK}:{self.port}"
        client = ServiceClient(url, party=info.name, timeout_seconds=PROBE_TIMEOUT_SECONDS)
        try:
            client.send("GET", self.path)
        except PlatformError as error:
            return error.message
        finally:
            client.close()
        return None


@dataclass(frozen=True)
class HasLogged:
    """A program without a port, which logs `event` (JSON, with a `timestamp`) once it can work."""

    log: Path
    event: str

    def is_ready(self, info: ProcessInfo) -> bool:
        started_at = info.started_at
        return (
            info.state.is_alive
            and started_at is not None
            and any(self._is_event(line, started_at) for line in tail(self.log, lines=_LOG_LINES))
        )

    def complaint(self, info: ProcessInfo) -> str | None:
        return None if info.state.is_alive else _not_alive(info)

    def _is_event(self, line: str, since: datetime) -> bool:
        if self.event not in line:
            return False
        try:
            entry = json.loads(line)
            logged_at = datetime.fromisoformat(entry["timestamp"])
        except (ValueError, KeyError, TypeError):
            return False
        return bool(entry.get("event") == self.event) and logged_at >= since


@dataclass(frozen=True)
class HasEnded:
    """A set-up that does its work and ends well."""

    def is_ready(self, info: ProcessInfo) -> bool:
        return self.complaint(info) is None

    def complaint(self, info: ProcessInfo) -> str | None:
        if info.state != ProcessState.EXITED or info.started_at is None:
            return f"it is {info.state.lower()}"
        return None if info.exit_status == 0 else f"it ended with status {info.exit_status}"


def _not_alive(info: ProcessInfo) -> str:
    return f"it is not running ({info.state.lower()})"
