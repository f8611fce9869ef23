"""Requests that are carried out and taken back by runs that die, sleep and overtake each other at
every boundary: the provider's own record tells that no effect is lost, none is had twice or after a
higher fence, and that an undo leaves nothing that its request made.

Control plane, run tokens, ledger and the order of an effect are the real ones, on real PostgreSQL;
the runs and the provider are the test's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, text

from execution_workers.ledger import ledger as ledger_module
from execution_workers.ledger.ledger import Ledger, OpenCall, new_engine
from execution_workers.ledger.migrate import migrate
from idp_kernel.ids import new_id
from idp_kernel.tokens import issue_run_token, public_key_set
from idp_kernel.wire.engine import LOST_RUNS
from idp_kernel.workflows import UNDOABLE_STEPS
from tests.fixtures.stack import PostgresServer
from tests.integration.control_plane.conftest import Platform, Subject
from tests.integration.control_plane.engine_run import ask_claim, offers
from tests.property.provider import AtBoundary, Boundary, Provider, items_of
from tests.property.runs import ITEM_WAIT_SECONDS, Died, Run, Workers

pick = st.integers(min_value=0, max_value=7)
"""Which of the things there are, counted round."""
LEASE_SECONDS = 16.0
PAUSE_SECONDS = 40.0
"""Longer than any before a further attempt, and than a lease."""
ENDED = {"succeeded", "failed", "cancelled", "timed_out"}
STEPS_AN_EXAMPLE = 80
LEAST_STEPS_AN_EXAMPLE = 67
"""On average: Hypothesis ends some examples sooner."""


@pytest.fixture
def ledger_engine(postgres_server: PostgresServer) -> Iterator[Engine]:
    url = postgres_server.create_database().url
    migrate(url)
    engine = new_engine(url, max_calls=8, item_wait_seconds=ITEM_WAIT_SECONDS)
    yield engine
    engine.dispose()


class Requests(RuleBasedStateMachine):
    """One application with two environments, and whoever works on them."""

    platform: Platform
    ledger_engine: Engine
    steps_done = 0
    """Over all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.provider = Provider()
        keys = public_key_set({"keys": [self.platform.services.signing_key.public]})
        self.workers = Workers(self.ledger_engine, keys, self.platform.clock, self.provider)
        self.requests: list[str] = []
        self.wanted: dict[str, Any] = {}
        """What is to be in an application environment, by its id."""
        self.runs: list[Run] = []

    @initialize()
    def an_application(self) -> None:
        self.subject: Subject = self.platform.new_subject()
        second = f"env-{new_id()[-10:]}"
        self.platform.admin.ok("/v1/environments", {"slug": second})
        self.platform.admin.ok(f"/v1/environments/{second}/activate")
        self.environments = [self.subject.environment, second]

    # ── commands ─────────────────────────────────────────────────────────────────────────────

    @rule(which=pick)
    def provision(self, which: int) -> None:
        path = f"/v1/applications/{self.subject.application_id}/environments"
        self._ask(path, {"environment": self.environments[which % len(self.environments)]})

    @rule(which=pick, action=st.sampled_from(("cancel", "retry", "undo", "undo")))
    def steer(self, which: int, action: str) -> None:
        if self.requests:
            request_id = self.requests[which % len(self.requests)]
            self._ask(f"/v1/workflow-requests/{request_id}/{action}", {})

    # ── runs ─────────────────────────────────────────────────────────────────────────────────

    @rule(dies=st.booleans())
    def claim(self, *, dies: bool) -> None:
        """Whatever is offered; a run that dies here never learns that it has the request."""
        for offer in offers(self.platform).values():
            answer = ask_claim(self.platform, offer["requestId"], new_id(), offer["attempt"])
            assert answer.status_code in (200, 409), answer.text
            if answer.status_code == 200:
                self._keep_wanted(answer.json())
                if not dies:
                    self.runs.append(Run(self.platform, answer.json(), self.workers))

    @rule(which=pick, steps=st.integers(1, 4))
    def go_on(self, which: int, steps: int) -> None:
        """A run does some steps; it may be one that lost its request long ago."""
        for _ in range(steps):
            self._go_on(which, _nothing_happens)

    @rule(which=pick, at=st.sampled_from(Boundary))
    def die(self, which: int, at: Boundary) -> None:
        def die(reached: Boundary) -> None:
            if reached is at:
                raise Died

        self._go_on(which, die)

    @rule(which=pick, at=st.sampled_from(Boundary), undone=st.booleans())
    def sleep(self, which: int, at: Boundary, *, undone: bool) -> None:
        """A run stands still in the middle of a step; others go on meanwhile, then it wakes."""
        slept = False

        def sleep(reached: Boundary) -> None:
            nonlocal slept
            if reached is at and not slept:
                slept = True
                self._others_go_on(undone=undone)

        self._go_on(which, sleep)

    @rule(seconds=st.sampled_from((1.0, LEASE_SECONDS, PAUSE_SECONDS)))
    def time_passes(self, seconds: float) -> None:
        self.platform.sweep_after(seconds)
        for lost in self.platform.engine_service.seen(LOST_RUNS)["runs"]:
            told = {
                "requestId": lost["requestId"],
                "runId": lost["runId"],
                "attempt": lost["attempt"],
                "ending": "failed",
            }
            answer = self.platform.engine_service.post("/internal/run-reports", told)
            assert answer.status_code == 200, answer.text

    # ── what must hold ───────────────────────────────────────────────────────────────────────

    @invariant()
    def nothing_in_use_is_lost(self) -> None:
        """An environment that is Active has everything that was wanted."""
        type(self).steps_done += 1
        for id_ in self._active():
            for item in self._items(id_):
                thing = self.provider.things.get(item)
                assert thing is not None, f"{item} is lost"
                assert thing.is_complete, f"{item} is half there"

    @invariant()
    def what_the_ledger_knows_is_there(self) -> None:
        live = "SELECT DISTINCT item FROM ledger.effects WHERE undone_at IS NULL"
        own = {item for id_ in self.wanted for item in self._items(id_)}
        with self.ledger_engine.connect() as connection:
            for item in own & set(connection.execute(text(live)).scalars()):
                assert item in self.provider.things, f"the ledger has {item}, the provider has not"

    def teardown(self) -> None:
        """All runs are gone; what is left is brought to its end."""
        self.runs.clear()
        for _ in range(30):
            self.time_passes(PAUSE_SECONDS)
            self.claim(dies=False)
            while self.runs:
                self._go_on(0, _nothing_happens)
            if all(self._state(each) in ENDED for each in self.requests):
                break
        else:
            raise AssertionError([self.platform.request(each) for each in self.requests])
        self.nothing_in_use_is_lost()
        self.what_the_ledger_knows_is_there()

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _ask(self, path: str, body: Any) -> None:
        answer = self.platform.admin.post(path, body)
        assert answer.status_code in (202, 409), answer.text
        if answer.status_code == 202:
            request_id = answer.json()["requestId"]
            self.requests = list(dict.fromkeys([*self.requests, request_id]))

    def _go_on(self, which: int, at: AtBoundary) -> None:
        if not self.runs:
            return
        run = self.runs[which % len(self.runs)]
        try:
            goes_on = run.go_on(at)
        except Died:
            goes_on = False
        if not goes_on and run in self.runs:
            self.runs.remove(run)

    def _others_go_on(self, *, undone: bool) -> None:
        """The lease ends, and the next run does a step; or somebody takes all of it back."""
        if undone and self.requests:
            self.steer(len(self.requests) - 1, "cancel")
        self.time_passes(LEASE_SECONDS)
        if undone and self.requests:
            self.steer(len(self.requests) - 1, "undo")
        self.time_passes(PAUSE_SECONDS)
        before = len(self.runs)
        self.claim(dies=False)
        for run in self.runs[before:]:
            for _ in range(2):
                if run in self.runs:
                    self._go_on(self.runs.index(run), _nothing_happens)

    def _keep_wanted(self, claim: Any) -> None:
        wanted = claim["desiredState"]
        wanted = wanted.get("undone", wanted)
        self.wanted[claim["applicationEnvironmentId"]] = wanted

    def _items(self, id_: str) -> list[str]:
        wanted = self.wanted[id_]
        return [item for step in UNDOABLE_STEPS for item in items_of(step, wanted)]

    def _active(self) -> list[str]:
        query = text("SELECT id::text FROM application_environments WHERE state = 'Active'")
        with self.platform.engine.connect() as connection:
            return [id_ for id_ in connection.execute(query).scalars() if id_ in self.wanted]

    def _state(self, request_id: str) -> str:
        return str(self.platform.request(request_id)["state"])


def _nothing_happens(_reached: Boundary) -> None:
    """The run goes on."""


def run(platform: Platform, ledger_engine: Engine, *, examples: int, steps: int) -> int:
    """How many steps were done."""
    Requests.platform, Requests.ledger_engine, Requests.steps_done = platform, ledger_engine, 0
    with platform.engine.begin() as connection:  # whose days go by in seconds here
        connection.execute(text("UPDATE tokens SET expires_at = now() + interval '100 years'"))
    run_state_machine_as_test(
        Requests,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            print_blob=True,
        ),
    )
    return Requests.steps_done


@pytest.mark.endurance
@pytest.mark.nightly
def test_no_effect_is_lost_or_had_twice_whoever_dies(
    platform: Platform, ledger_engine: Engine
) -> None:
    run(platform, ledger_engine, examples=5, steps=30)


@pytest.mark.endurance
@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_no_effect_is_lost_or_had_twice_over_and_over(
    platform: Platform, ledger_engine: Engine
) -> None:
    examples = int(os.environ.get("IDP_TEST_EXAMPLES", "10"))
    done = run(platform, ledger_engine, examples=examples, steps=STEPS_AN_EXAMPLE)
    print(f"\n{examples} examples, {done} steps")  # noqa: T201 - what was shown
    assert done >= examples * LEAST_STEPS_AN_EXAMPLE


# ── what the record would show if a guard were missing ───────────────────────────────────────


@pytest.fixture
def machine(platform: Platform, ledger_engine: Engine) -> Requests:
    """A first run that has its request."""
    Requests.platform, Requests.ledger_engine = platform, ledger_engine
    requests = Requests()
    requests.an_application()
    requests.provision(0)
    requests.claim(dies=False)
    return requests


@pytest.mark.parametrize("at", Boundary)
@pytest.mark.parametrize(
    "undone",
    [
        pytest.param(False, id="overtaken"),
        pytest.param(True, id="undone", marks=pytest.mark.nightly),
    ],
)
def test_a_run_that_sleeps_at_a_boundary_does_no_harm(
    machine: Requests, at: Boundary, *, undone: bool
) -> None:
    machine.sleep(0, at, undone=undone)
    machine.nothing_in_use_is_lost()
    machine.teardown()
    assert machine.provider.things or undone


@pytest.mark.parametrize("at", Boundary)
def test_a_run_that_dies_at_a_boundary_is_followed_by_one_that_finishes(
    machine: Requests, at: Boundary
) -> None:
    machine.die(0, at)
    machine.teardown()
    assert [machine._state(each) for each in machine.requests] == ["succeeded"]
    assert len(machine._active()) == 1


def test_without_locks_a_thing_is_made_twice(
    machine: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenCall, "locked", lambda _self, _things: nullcontext())
    with pytest.raises(AssertionError, match=r"made twice|is changed with fence"):
        machine.sleep(0, Boundary.IN_FLIGHT, undone=False)


def test_without_waiting_for_calls_in_flight_an_undo_is_outlived(
    machine: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "drain", lambda *_arguments, **_options: None)
    machine.go_on(0, 1)
    with pytest.raises(AssertionError, match="is changed with fence 1 after"):
        machine.sleep(0, Boundary.IN_FLIGHT, undone=True)


def test_without_fences_a_run_that_slept_makes_what_was_taken_back(
    machine: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.go_on(0, 1)
    claim, now = machine.runs[0].claim, machine.platform.clock.now()
    claim["runToken"] = issue_run_token(
        machine.platform.services.signing_key,
        request_id=claim["requestId"],
        run_id=claim["runId"],
        attempt=claim["attempt"],
        generation=claim["generation"],
        fence=claim["fence"],
        team_id=claim["teamId"],
        team=machine.subject.team,
        now=now,
        until=now + timedelta(hours=1),  # the end of its lease would stop it, too
        deadline=now + timedelta(hours=1),
    )
    monkeypatch.setattr(ledger_module, "_raise_fence", lambda *_arguments: None)
    monkeypatch.setattr(OpenCall, "check_fence", lambda _self: None)
    with pytest.raises(AssertionError, match="is changed with fence 1 after"):
        machine.sleep(0, Boundary.STARTED, undone=True)
