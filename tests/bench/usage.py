"""What processes and a database have used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, LiteralString

import psutil
import psycopg

MEBIBYTE = 1024 * 1024


def family(roots: Iterable[int]) -> list[psutil.Process]:
    """The processes and all that descend from them, each once."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        try:
            process = psutil.Process(root)
            for each in (process, *process.children(recursive=True)):
                found.setdefault(each.pid, each)
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def cpu_seconds(roots: Iterable[int]) -> float:
    """What they have used since their start, with those of their children that have ended."""
    return sum(_cpu_seconds_of(family(roots)))


def _cpu_seconds_of(processes: Iterable[psutil.Process]) -> Iterator[float]:
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        yield times.user + times.system + times.children_user + times.children_system


def pss_mebibytes(roots: Iterable[int]) -> float:
    """Their memory; what several share counts once in all."""
    total = 0
    for process in family(roots):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / MEBIBYTE


@dataclass(frozen=True)
class Counted:
    """Of a whole server, since its start."""

    statements: int
    bytes: int


class DatabaseCounts:
    """Reads a PostgreSQL's statistics as its superuser."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo

    def prepare(self) -> None:
        """Has statements counted; the server was started with the extension's library."""
        with closing(self._connect()) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def read(self) -> Counted:
        """Statements of all databases, and the size of all of them; our own are left out."""
        with closing(self._connect()) as connection:
            statements = _number(
                connection,
                "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements"
                " JOIN pg_roles ON oid = userid WHERE rolname <> current_user",
            )
            size = _number(
                connection,
                "SELECT sum(pg_database_size(oid))::bigint FROM pg_database"
                " WHERE NOT datistemplate",
            )
        return Counted(statements, size)

    def top(self, most: int = 25) -> list[tuple[int, float, str]]:
        """The statements that were made most often: calls, milliseconds in all, text."""
        with closing(self._connect()) as connection:
            rows = connection.execute(
                "SELECT calls, total_exec_time, query FROM pg_stat_statements"
                " JOIN pg_roles ON oid = userid WHERE rolname <> current_user"
                " ORDER BY calls DESC LIMIT %s",
                (most,),
            ).fetchall()
        return [(calls, milliseconds, text) for calls, milliseconds, text in rows]

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._conninfo, autocommit=True)


def _number(connection: psycopg.Connection[tuple[Any, ...]], query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
