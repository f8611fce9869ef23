"""The ports of a platform, and who holds one that should be free."""

from __future__ import annotations

import dataclasses
import socket

import psutil

from idp_kernel.errors import InvalidInput
from idp_kernel.services import DEFAULT_PORTS, LOOPBACK, DefaultPorts

LARGEST_OFFSET = 65535 - max(dataclasses.astuple(DEFAULT_PORTS))


def shifted_ports(offset: int) -> DefaultPorts:
    """Every default port plus `offset`; raises `InvalidInput` when that leaves the range."""
    if not 0 <= offset <= LARGEST_OFFSET:
        raise InvalidInput(
            f"A port offset lies between 0 and {LARGEST_OFFSET}, {offset} does not.",
            code="port_offset_out_of_range",
        )
    numbers = {name: port + offset for name, port in dataclasses.asdict(DEFAULT_PORTS).items()}
    return DefaultPorts(**numbers)


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        # As servers do, so that connections of an earlier run that wind down do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """Who listens on the port, as far as this account may know."""
    try:
        listeners = [
            each.pid
            for each in psutil.net_connections(kind="tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
        ]
    except psutil.AccessDenied:
        listeners = []
    known = [pid for pid in listeners if pid is not None]
    return _describe(known[0]) if known else "a process of another account"


def _describe(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"
