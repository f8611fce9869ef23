"""Talks to the supervisor over its socket."""

from __future__ import annotations

import http.client
import xmlrpc.client
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import Faults, SupervisorTransport

from idp_kernel.errors import InvariantBroken, Unavailable


class ProcessState(StrEnum):
    """What the supervisor says of a program."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    """It runs, and has not yet run for long."""
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    """It ended too early and will be started again."""
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"
    """It was given up."""
    UNKNOWN = "UNKNOWN"

    @property
    def is_alive(self) -> bool:
        return self in (ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING)


@dataclass(frozen=True)
class ProcessInfo:
    """A program as the supervisor sees it."""

    name: str
    group: str
    state: ProcessState
    pid: int | None
    started_at: datetime | None
    exit_status: int
    """Of its last end; meaningless while it runs."""


class SupervisorRemote:
    """The supervisor behind `socket`; each call raises `Unavailable` when it does not answer or is
    about to leave.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def processes(self) -> dict[str, ProcessInfo]:
        """All programs by name."""
        answer = self._call("getAllProcessInfo")
        return {each["name"]: _process_info(each) for each in answer}

    def start(self, group: str, name: str) -> None:
        """Starts a program that is not running; does not wait for it."""
        self._call("startProcess", f"{group}:{name}", False)

    def stop_group(self, group: str) -> None:
        """Begins to stop the programs of a group; does not wait for them."""
        self._call("stopProcessGroup", str(group), False)

    def _call(self, method: str, *arguments: object) -> Any:
        # A connection for each call: one that an interrupt cut short is of no use afterwards.
        transport = SupervisorTransport(serverurl=f"unix://{self._socket}")
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == Faults.SHUTDOWN_STATE:
                raise Unavailable("The platform is stopping.", code="stopping") from fault
            raise InvariantBroken(
                f"The supervisor refused {method}{arguments}: {fault.faultString}"
            ) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise Unavailable(
                f"The supervisor behind {self._socket} did not do `{method}`: {error}",
                code="supervisor_gone",
            ) from error


def _process_info(answer: dict[str, Any]) -> ProcessInfo:
    started = answer["start"]
    return ProcessInfo(
        name=answer["name"],
        group=answer["group"],
        state=ProcessState(answer["statename"]),
        pid=answer["pid"] or None,
        started_at=datetime.fromtimestamp(started, UTC) if started else None,
        exit_status=answer["exitstatus"],
    )
