"""The loop round by round, on a pretend forge and a pretend reconciler."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from idp_kernel.errors import Unavailable
from idp_kernel.wire.agent import Reconciliation
from idp_kernel.wire.forge import ForgeRepositories, ForgeRepository, OwnershipMarker
from local_stack.agent.loop import LONGEST_PAUSE_SECONDS, ReconciliationLoop
from local_stack.agent.reconciler import Reconciler, Source
from local_stack.agent.reconciliations import Reconciliations

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MARKER = OwnershipMarker(installation_id="i", entity_id="e", request_id="r")


class PretendForge:
    """Lists what it is told to, or is away."""

    def __init__(self) -> None:
        self.heads: dict[str, str | None] = {}
        self.default_branch = "main"
        self.archived: set[str] = set()
        self.away = False
        self.listed = 0
        self.patience: list[bool] = []

    def list_repositories(self, *, patiently: bool) -> ForgeRepositories:
        self.listed += 1
        self.patience.append(patiently)
        if self.away:
            raise Unavailable("gone", code="unreachable")
        return ForgeRepositories(
            items=tuple(
                ForgeRepository.model_construct(
                    owner="payments",
                    name=name,
                    description="",
                    default_branch=self.default_branch,
                    clone_url="",
                    head_revision=head,
                    archived=name in self.archived,
                    marker=MARKER,
                    created_at=NOW,
                    protections=(),
                )
                for name, head in self.heads.items()
            )
        )


class RecordingReconciler(Reconciler):
    """Notes what it is asked to look at; fails where it is told to."""

    def __init__(self, reconciliations: Reconciliations) -> None:
        self.looks: list[str] = []
        self.unchanged: list[str] = []
        self.lost: list[str] = []
        self.forgotten: list[str] = []
        self.failing: set[str] = set()
        self.hold: dict[str, threading.Event] = {}
        self._shown = reconciliations

    def reconcile(self, source: Source) -> bool:
        self.looks.append(source.name)
        if source.name in self.hold:
            self.hold[source.name].wait(10)
        seen = Reconciliation(
            owner=source.owner, name=source.name, observed_revision=source.head, conditions=()
        )
        self._shown.change(source.owner, source.name, lambda _: seen, keep=False)
        return source.name not in self.failing

    def see_unchanged(self, source: Source) -> None:
        self.unchanged.append(source.name)

    def source_lost(self, message: str) -> None:
        self.lost.append(message)

    def forget(self, owner: str, name: str) -> None:
        self.forgotten.append(name)
        self._shown.forget(owner, name)


class Stage:
    """A loop that is moved round by round, with a clock that is set by hand."""

    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.forge = PretendForge()
        self.reconciliations = Reconciliations(directory)
        self.reconciler = RecordingReconciler(self.reconciliations)
        self.loop = ReconciliationLoop(
            list_repositories=self.forge.list_repositories,
            reconciler=self.reconciler,
            reconciliations=self.reconciliations,
            interval_seconds=1,
            monotonic=lambda: self.now,
        )

    def round(self) -> None:
        """One round, and what it started is over."""
        self.loop.tick()
        self.settle()

    def settle(self) -> None:
        for future in self.loop._in_flight.values():
            future.result(timeout=10)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with on_stage(tmp_path) as made:
        yield made


@contextmanager
def on_stage(directory: Path) -> Iterator[Stage]:
    made = Stage(directory)
    try:
        yield made
    finally:
        made.loop._pool.shutdown()


def test_a_moved_head_is_looked_at_once(stage: Stage) -> None:
    stage.forge.heads = {"appenv-a": "1"}
    for _ in range(3):
        stage.round()
    assert stage.reconciler.looks == ["appenv-a"]
    assert stage.reconciler.unchanged == ["appenv-a", "appenv-a"]
    stage.forge.heads = {"appenv-a": "2"}
    stage.round()
    assert stage.reconciler.looks == ["appenv-a", "appenv-a"]
    assert stage.forge.listed == 4


def test_it_asks_patiently_while_it_has_nothing_to_do(stage: Stage) -> None:
    stage.forge.heads = {"appenv-a": "1"}
    stage.reconciler.hold["appenv-a"] = threading.Event()
    stage.loop.tick()
    stage.loop.tick()
    assert stage.forge.patience == [True, False], "a look is under way"
    stage.reconciler.hold.pop("appenv-a").set()
    stage.settle()
    stage.round()
    assert stage.forge.patience.pop()
    stage.forge.heads, stage.reconciler.failing = {"appenv-a": "2"}, {"appenv-a"}
    stage.round()
    stage.round()
    assert not stage.forge.patience.pop(), "a look is to be repeated"
    stage.reconciler.failing, stage.now = set(), 40.0
    stage.round()
    stage.forge.away = True
    stage.round()
    assert stage.forge.patience.pop()
    stage.round()
    assert not stage.forge.patience.pop(), "the forge is away"


@pytest.mark.parametrize("name", ["service-a", "appenv-", "appenv-../../x", "appenv-A"])
def test_other_and_odd_names_are_passed_over(stage: Stage, name: str) -> None:
    stage.forge.heads = {name: "1"}
    stage.round()
    assert stage.reconciler.looks == []


def test_an_odd_default_branch_is_passed_over(stage: Stage) -> None:
    stage.forge.heads, stage.forge.default_branch = {"appenv-a": "1"}, "--upload-pack=x"
    stage.round()
    assert stage.reconciler.looks == []


def test_a_failed_look_is_repeated_after_growing_pauses(stage: Stage) -> None:
    stage.forge.heads = {"appenv-a": "1"}
    stage.reconciler.failing = {"appenv-a"}
    looked_at: list[float] = []
    for second in range(20):
        stage.now = float(second)
        before = len(stage.reconciler.looks)
        stage.round()
        looked_at += [stage.now] * (len(stage.reconciler.looks) - before)
    assert looked_at == [0, 2, 6, 14]
    stage.reconciler.failing = set()
    stage.now = 40
    stage.round()
    stage.round()
    assert stage.reconciler.unchanged == ["appenv-a"]


def test_a_repository_that_fails_for_ever_keeps_its_pause(stage: Stage) -> None:
    stage.forge.heads = {"appenv-a": "1"}
    stage.reconciler.failing = {"appenv-a"}
    for _ in range(1100):
        stage.round()
        stage.now += LONGEST_PAUSE_SECONDS
    stage.round()
    looks = len(stage.reconciler.looks)
    stage.now += 1
    stage.round()
    assert len(stage.reconciler.looks) == looks


def test_a_slow_repository_holds_up_no_other(stage: Stage) -> None:
    stage.reconciler.hold["appenv-a"] = threading.Event()
    stage.forge.heads = {"appenv-a": "1"}
    stage.loop.tick()
    stage.forge.heads = {"appenv-a": "1", "appenv-b": "1"}
    stage.loop.tick()
    stage.loop._in_flight["payments", "appenv-b"].result(timeout=10)
    stage.reconciler.hold["appenv-a"].set()
    stage.settle()
    assert sorted(stage.reconciler.looks) == ["appenv-a", "appenv-b"]


def test_a_forge_that_is_away_forgets_nothing(stage: Stage) -> None:
    stage.forge.heads = {"appenv-a": "1"}
    stage.round()
    stage.forge.away = True
    stage.round()
    assert stage.reconciler.lost == ["The forge cannot be listed: gone"]
    assert stage.reconciler.forgotten == []
    stage.forge.away = False
    stage.round()
    assert stage.reconciler.unchanged == ["appenv-a"]


def test_a_repository_that_is_gone_is_forgotten(stage: Stage) -> None:
    stage.forge.heads = {"appenv-a": "1"}
    stage.round()
    stage.forge.heads = {}
    stage.round()
    assert stage.reconciler.forgotten == ["appenv-a"]


def test_a_repository_that_is_archived_is_forgotten_too(stage: Stage) -> None:
    stage.forge.heads = {"appenv-a": "1", "appenv-b": "1"}
    stage.round()
    stage.forge.archived = {"appenv-a"}
    stage.round()
    assert stage.reconciler.forgotten == ["appenv-a"]


def test_the_thread_stops_when_asked(stage: Stage) -> None:
    stage.loop.start()
    assert stage.loop.is_alive()
    stage.loop.stop()
    assert not stage.loop.is_alive()
