"""HTTP calls at even distances, cheap enough to leave the machine to who answers them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from idp_kernel.services import LOOPBACK

CONNECTIONS = 32


@dataclass(frozen=True)
class Call:
    """What is sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: object = None

    def encoded(self) -> bytes:
        body = b"" if self.body is None else json.dumps(self.body).encode()
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            f"Host: {LOOPBACK}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Answered:
    """How a call went; the time runs from the moment it was due, waiting for a free connection
    included.
    """

    status: int
    seconds: float


def at_even_distances(
    port: int, calls: Iterable[Call], *, per_second: float, connections: int = CONNECTIONS
) -> list[Answered]:
    """Makes the calls, however long those before take; answers once all are answered."""
    return asyncio.run(_all(port, list(calls), per_second, connections))


def as_fast_as_answered(
    port: int, calls: Iterator[Call], *, seconds: float, connections: int = CONNECTIONS
) -> list[Answered]:
    """Each connection makes the next call once its last is answered, for so long or until there is
    none left.
    """
    return asyncio.run(_one_after_the_other(port, calls, seconds, connections))


async def _one_after_the_other(
    port: int, calls: Iterator[Call], seconds: float, connections: int
) -> list[Answered]:
    end_at = time.perf_counter() + seconds
    answered: list[Answered] = []

    async def go_on(connection: _Connection) -> None:
        while (began := time.perf_counter()) < end_at and (call := next(calls, None)) is not None:
            status = await connection.send(call.encoded())
            answered.append(Answered(status, time.perf_counter() - began))
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(go_on(await _Connection.open(port)))
    return answered


async def _all(port: int, calls: list[Call], per_second: float, connections: int) -> list[Answered]:
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await _Connection.open(port))
    answered: list[Answered] = []

    async def make(call: Call, due: float) -> None:
        connection = await free.get()
        try:
            status = await connection.send(call.encoded())
        finally:
            free.put_nowait(connection)
        answered.append(Answered(status, time.perf_counter() - due))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, call in enumerate(calls):
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(make(call, due))
    while not free.empty():
        (await free.get()).close()
    return answered


class _Connection:
    """One that is kept; answers have a `Content-Length`, as the API's have."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> _Connection:
        return cls(*await asyncio.open_connection(LOOPBACK, port))

    async def send(self, request: bytes) -> int:
        """The status of the answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        lengths = [
            int(line.partition(":")[2])
            for line in lines
            if line.lower().startswith("content-length:")
        ]
        await self._reader.readexactly(lengths[0])
        return int(lines[0].split(" ")[1])

    def close(self) -> None:
        self._writer.close()
