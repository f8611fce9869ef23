"""Database logins as their bindings say, asked of the repository and the store themselves."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.wire.worker import appenv_repository_name
from tests.e2e.platform import Platform

REFUSED = ("28P01", "28000")
"""PostgreSQL's codes for a login it does not let in."""
LOGINS_A_SECOND = 100
FEWER_LOGINS_A_SECOND = 20
"""Of those who look at one step after the other: a hundred take a core of the machine's."""
SHORTEST_GRACE_SECONDS = 1
"""Of the tests' rotations: how long after it was read a login may be expected to work."""
READERS = 4
"""Threads that share them: one login after the other would not be so many."""
_MAIN = "refs/heads/main"


@dataclass(frozen=True)
class BoundSecret:
    """A secret as the binding in its repository says."""

    platform: Platform
    owner: str
    appenv_id: str
    name: str

    @property
    def repository(self) -> Path:
        """The bare repository where the forge keeps it."""
        name = appenv_repository_name(self.appenv_id)
        return self.platform.home / "forge" / "repositories" / self.owner / f"{name}.git"

    @property
    def head(self) -> str:
        """The commit that main stands at; one read of a file, as often as one likes."""
        return (self.repository / _MAIN).read_text().strip()

    def pinned_at(self, revision: str) -> tuple[str, int]:
        """The path in the store and the version that the binding pinned there."""
        shown = subprocess.run(
            ["git", "show", f"{revision}:manifests/external-secrets/{self.name}.yaml"],
            cwd=self.repository, capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        references = [each["remoteRef"] for each in yaml.safe_load(shown.stdout)["spec"]["data"]]
        ((key, version),) = {(each["key"], int(each["version"])) for each in references}
        return key, version

    @property
    def pinned_version(self) -> int:
        return self.pinned_at(self.head)[1]

    def values(self, version: int | None = None) -> dict[str, str]:
        """What the store holds at the pinned version, or at another one."""
        key, pinned = self.pinned_at(self.head)
        answer = self.platform.openbao(
            f"kv/data/{key}?version={version or pinned}", self.platform.openbao_root_token
        )
        assert answer.status_code == 200, f"version {version or pinned}: {answer.status_code}"
        found: dict[str, str] = answer.json()["data"]["data"]
        return found

    def live_versions(self) -> list[int]:
        """The versions that can still be read."""
        key, _ = self.pinned_at(self.head)
        answer = self.platform.openbao(f"kv/metadata/{key}", self.platform.openbao_root_token)
        versions = answer.json()["data"]["versions"]
        return sorted(
            int(number)
            for number, each in versions.items()
            if not each["destroyed"] and not each["deletion_time"]
        )


def log_in(values: Mapping[str, str]) -> str:
    """Logs in and asks who one is; raises what PostgreSQL answers."""
    with psycopg.connect(
        host=values["host"],
        port=int(values["port"]),
        dbname=values["database"],
        user=values["username"],
        password=values["password"],
        connect_timeout=5,
    ) as connection:
        row = connection.execute("SELECT session_user::text").fetchone()
    assert row is not None
    return str(row[0])


def is_let_in(values: Mapping[str, str]) -> bool:
    """Whether the login works; anything but PostgreSQL's refusal is raised."""
    try:
        log_in(values)
    except psycopg.OperationalError as error:
        if is_refusal(error):
            return False
        raise
    return True


def is_refusal(error: psycopg.OperationalError) -> bool:
    """Whether PostgreSQL knew the login and did not let it in."""
    said = str(error)
    return error.sqlstate in REFUSED or any(
        words in said for words in ("password authentication failed", "not permitted to log in")
    )


def as_superuser(
    platform: Platform, database: str = "postgres"
) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of the server's own administrator."""
    return psycopg.connect(
        host=LOOPBACK,
        port=DEFAULT_PORTS.postgres + platform.port_offset,
        user="postgres",
        dbname=database,
        passfile=str(platform.home / "keys" / "postgres" / "postgres.pgpass"),
    )


def roles(platform: Platform, group: str) -> dict[str, bool]:
    """The login roles of a secret, each with whether it may log in."""
    with as_superuser(platform) as connection:
        rows = connection.execute(
            "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE %s AND rolname <> %s",
            (f"{group}%", group),
        ).fetchall()
    return dict(rows)


def group_of(secret_id: str) -> str:
    """The role that owns what a secret's logins make."""
    return f"idp_{secret_id.replace('-', '')}"


@dataclass
class Reader:
    """Logs in again and again with whatever the binding says at that moment."""

    bound: BoundSecret
    outcomes: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    _known: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def log_in_once(self) -> None:
        """One login; counts `let in`, `refused`, `late` when it read the binding longer ago than a
        grace takes, or `away` while a server does not answer.
        """
        began = time.monotonic()
        try:
            version, values = self._bound_values()
            log_in(values)
        except psycopg.OperationalError as error:
            if not is_refusal(error):
                self._count("away")
            elif time.monotonic() - began > SHORTEST_GRACE_SECONDS:
                self._count("late")
            else:
                self._count("refused", refusal=f"version {version}: {error}")
        except (httpx.TransportError, AssertionError):
            self._count("away")
        else:
            self._count("let in", version=version)

    def _count(self, outcome: str, *, version: int | None = None, refusal: str = "") -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            if version is not None:
                self.versions[version] += 1
            if refusal:
                self.refusals.append(refusal)

    def _bound_values(self) -> tuple[int, dict[str, str]]:
        head = self.bound.head
        if head not in self._known:
            _, version = self.bound.pinned_at(head)
            self._known[head] = (version, self.bound.values(version))
        return self._known[head]


@contextmanager
def reading(bound: BoundSecret, logins_a_second: int = LOGINS_A_SECOND) -> Iterator[Reader]:
    """A reader at work while the block lasts."""
    reader, stop = Reader(bound), threading.Event()

    def read() -> None:
        due = time.monotonic()
        while not stop.is_set():
            reader.log_in_once()
            due = max(due + READERS / logins_a_second, time.monotonic() - 1)
            stop.wait(max(0.0, due - time.monotonic()))

    threads = [threading.Thread(target=read, name="reader", daemon=True) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        yield reader
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
