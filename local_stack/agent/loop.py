"""The agent's own loop: it lists what the forge has, and works only where a head has moved."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import structlog
from pydantic import TypeAdapter, ValidationError

from idp_kernel.errors import PlatformError
from idp_kernel.ids import SLUG_PATTERN
from idp_kernel.wire.forge import BranchName, ForgeRepositories, ForgeRepository
from idp_kernel.wire.worker import APPENV_REPOSITORY_PREFIX
from local_stack.agent.reconciler import Reconciler, Source
from local_stack.agent.reconciliations import Key, Reconciliations

LOOKS_AT_ONCE = 4
LONGEST_PAUSE_SECONDS = 30.0
_MOST_DOUBLINGS = 10
"""A float overflows at 1024."""
_NAME = re.compile(rf"{APPENV_REPOSITORY_PREFIX}[a-z0-9-]{{1,93}}")
_OWNER = re.compile(SLUG_PATTERN.strip("^$"))
_BRANCH: TypeAdapter[str] = TypeAdapter(BranchName)

_log = structlog.get_logger(__name__)


class ListRepositories(Protocol):
    """Patiently: when there is something new, or some time has passed without."""

    def __call__(self, *, patiently: bool) -> ForgeRepositories: ...


@dataclass
class _Failures:
    """How often a repository failed in a row, and when it is looked at again."""

    count: int = 0
    not_before: float = 0.0


class ReconciliationLoop:
    """Runs in a thread of its own until it is stopped."""

    def __init__(
        self,
        *,
        list_repositories: ListRepositories,
        reconciler: Reconciler,
        reconciliations: Reconciliations,
        interval_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._list_repositories = list_repositories
        self._reconciler = reconciler
        self._reconciliations = reconciliations
        self._interval_seconds = interval_seconds
        self._monotonic = monotonic
        self._forge_is_away = False
        self._in_flight: dict[Key, Future[None]] = {}
        self._failures: dict[Key, _Failures] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciliation-loop", daemon=True)
        self._pool = ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="reconciliation")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Start nothing more and wait for the looks that are under way."""
        self._stopped.set()
        self._thread.join()
        self._pool.shutdown(cancel_futures=True)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def tick(self) -> None:
        """One round; a forge that is away is told in the conditions, not raised."""
        try:
            listed = self._list_repositories(patiently=self._has_nothing_to_do())
        except PlatformError as error:
            self._note_forge_away(error)
            return
        self._note_forge_here()
        sources = {(each.owner, each.name): each for each in _watched(listed)}
        self._forget_missing(sources)
        for key, source in sources.items():
            try:
                self._attend(key, source)
            except Exception:  # noqa: BLE001 - one broken repository never stops others
                _log.exception("repository_not_attended", owner=key[0], name=key[1])

    def _has_nothing_to_do(self) -> bool:
        """Until the forge has something new."""
        at_work = any(not each.done() for each in self._in_flight.values())
        return not (at_work or self._failures or self._forge_is_away)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.tick()
            except Exception:  # noqa: BLE001 - a bug in one round must not end the loop
                _log.exception("reconciliation_round_failed")
            self._stopped.wait(self._interval_seconds)

    def _attend(self, key: Key, source: Source) -> None:
        if key in self._in_flight:
            if not self._in_flight[key].done():
                return
            self._in_flight.pop(key).result()
        failures = self._failures.get(key)
        if failures is not None and self._monotonic() < failures.not_before:
            return
        seen = self._reconciliations.find(*key)
        if seen is None or failures is not None or seen.observed_revision != source.head:
            self._in_flight[key] = self._pool.submit(self._look, key, source)
        else:
            self._reconciler.see_unchanged(source)

    def _look(self, key: Key, source: Source) -> None:
        if self._reconciler.reconcile(source):
            self._failures.pop(key, None)
            return
        failures = self._failures.setdefault(key, _Failures())
        failures.count += 1
        pause = min(
            self._interval_seconds * 2.0 ** min(failures.count, _MOST_DOUBLINGS),
            LONGEST_PAUSE_SECONDS,
        )
        failures.not_before = self._monotonic() + pause

    def _forget_missing(self, sources: dict[Key, Source]) -> None:
        for key in self._reconciliations.all():
            if key not in sources and (key not in self._in_flight or self._in_flight[key].done()):
                self._in_flight.pop(key, None)
                self._failures.pop(key, None)
                self._reconciler.forget(*key)

    def _note_forge_away(self, error: PlatformError) -> None:
        if not self._forge_is_away:
            _log.warning("forge_away", code=error.code, detail=error.message)
        self._forge_is_away = True
        self._reconciler.source_lost(f"The forge cannot be listed: {error.message}")

    def _note_forge_here(self) -> None:
        if self._forge_is_away:
            _log.info("forge_back")
        self._forge_is_away = False


def _watched(listed: ForgeRepositories) -> list[Source]:
    """The repositories to reconcile, as far as their names can be trusted in paths; what stands in
    an archived one is applied no more.
    """
    return [
        Source(each.owner, each.name, each.default_branch, each.head_revision)
        for each in listed.items
        if each.name.startswith(APPENV_REPOSITORY_PREFIX)
        and not each.archived
        and _is_well_named(each)
    ]


def _is_well_named(repository: ForgeRepository) -> bool:
    try:
        _BRANCH.validate_python(repository.default_branch)
    except ValidationError:
        return False
    return bool(_NAME.fullmatch(repository.name) and _OWNER.fullmatch(repository.owner))
