"""What keeps a run at work, and what ends its work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from idp_dagster.resources import lease as lease_module
from idp_dagster.resources.lease import Closing, LeaseKeeper
from idp_kernel.clock import SystemClock
from idp_kernel.errors import (
    Conflict,
    InvariantBroken,
    NotFound,
    PlatformError,
    Unauthenticated,
    Unavailable,
)
from idp_kernel.wire.engine import Claim, Lease
from tests.unit.idp_dagster.fakes import claim

SOON = timedelta(seconds=0.2)
LONG = timedelta(seconds=60)


class Renewals:
    """The control plane's answers to renewals."""

    def __init__(self, *, error: PlatformError | None = None, cancel: bool = False) -> None:
        self.error = error
        self.cancel = cancel
        self.tokens: list[str] = []
        self.renewed = threading.Event()
        self.lease = LONG

    def __call__(self, token: str) -> Lease:
        self.tokens.append(token)
        self.renewed.set()
        if self.error is not None:
            raise self.error
        return Lease(
            run_token=f"run-token-{len(self.tokens) + 1}",
            lease_expires_at=datetime.now(UTC) + self.lease,
            cancel_requested=self.cancel,
        )


class Closings:
    """Notes the closing and says when."""

    def __init__(self) -> None:
        self.seen: list[Closing] = []
        self.happened = threading.Event()

    def __call__(self, closing: Closing) -> None:
        self.seen.append(closing)
        self.happened.set()


@contextmanager
def keeping(
    held: Claim,
    renewals: Renewals,
    closings: Closings,
    is_terminated: Callable[[], bool] = lambda: False,
) -> Iterator[LeaseKeeper]:
    keeper = LeaseKeeper(
        held,
        renew=renewals,
        is_terminated=is_terminated,
        on_closing=closings,
        clock=SystemClock(),
        look_every_seconds=0.02,
    )
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.stop()


def test_renewals_bring_the_token_for_the_next_calls() -> None:
    renewals, closings = Renewals(), Closings()
    with keeping(claim(heartbeat_seconds=0.02, lease=LONG), renewals, closings) as keeper:
        while len(renewals.tokens) < 2:
            assert renewals.renewed.wait(5)
            renewals.renewed.clear()
        assert keeper.token() != "run-token-1"
    assert renewals.tokens[:2] == ["run-token-1", "run-token-2"]
    assert closings.seen == []


@pytest.mark.parametrize(
    ("renewals", "times", "expected"),
    [
        (Renewals(cancel=True), (LONG, LONG), Closing.CANCEL_REQUESTED),
        (Renewals(error=Conflict("not yours")), (LONG, LONG), Closing.CLAIM_LOST),
        (Renewals(error=NotFound("no such request")), (LONG, LONG), Closing.CLAIM_LOST),
        (Renewals(error=Unauthenticated("expired")), (LONG, LONG), Closing.CLAIM_LOST),
        (Renewals(error=Unavailable("away")), (SOON, LONG), Closing.LEASE_ENDED),
        (Renewals(error=InvariantBroken("a bug there")), (SOON, LONG), Closing.LEASE_ENDED),
        (Renewals(), (LONG, SOON), Closing.DEADLINE_PASSED),
    ],
    ids=["cancel", "lost", "unknown", "token refused", "unreachable", "broken", "late"],
)
def test_a_closed_run_calls_nobody_any_more(
    renewals: Renewals, times: tuple[timedelta, timedelta], expected: Closing
) -> None:
    closings = Closings()
    held = claim(heartbeat_seconds=0.02, lease=times[0], deadline=times[1])
    with keeping(held, renewals, closings) as keeper:
        assert closings.happened.wait(5)
        with pytest.raises(Conflict) as refused:
            keeper.token()
        with pytest.raises(Conflict), keeper.last_call():
            pass
    assert closings.seen == [expected], "and it is closed once"
    assert refused.value.code == "claim_closed"
    assert expected in refused.value.message


def test_a_run_that_dagster_ends_is_closed() -> None:
    closings, terminated = Closings(), threading.Event()
    with keeping(claim(), Renewals(), closings, terminated.is_set) as keeper:
        assert keeper.token()
        terminated.set()
        assert closings.happened.wait(5)
    assert closings.seen == [Closing.TERMINATED]


def test_a_claim_whose_answer_took_long_is_renewed_before_its_lease_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, renewals, closings = [1000.0], Renewals(), Closings()
    monkeypatch.setattr(lease_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    keeper = LeaseKeeper(
        claim(heartbeat_seconds=600, lease=LONG),
        renew=renewals,
        is_terminated=lambda: False,
        on_closing=closings,
        clock=SystemClock(),
    )
    keeper._look()
    assert renewals.tokens == []
    now[0] += LONG.total_seconds() / 3
    keeper._look()
    assert renewals.tokens == ["run-token-1"]
    assert keeper.token() == "run-token-2"
    assert closings.seen == []


def test_a_token_of_a_lease_that_ended_is_not_given_out_though_no_look_was_taken() -> None:
    closings = Closings()
    keeper = LeaseKeeper(
        claim(lease=timedelta(seconds=-1)),
        renew=Renewals(),
        is_terminated=lambda: False,
        on_closing=closings,
        clock=SystemClock(),
    )
    with pytest.raises(Conflict):
        keeper.token()
    assert closings.seen == [Closing.LEASE_ENDED]


def test_after_the_claim_is_given_back_nothing_is_renewed_or_closed() -> None:
    renewals, closings, seen = Renewals(), Closings(), threading.Event()

    def is_terminated() -> bool:
        seen.set()
        return True

    keeper = LeaseKeeper(
        claim(),
        renew=renewals,
        is_terminated=is_terminated,
        on_closing=closings,
        clock=SystemClock(),
    )
    with keeper.last_call() as token:
        assert token == "run-token-1"
    keeper._look()
    assert not seen.is_set()
    assert keeper.is_over
    assert closings.seen == []


def test_a_last_call_that_fails_leaves_the_lease_alive() -> None:
    with keeping(claim(), Renewals(), Closings()) as keeper:
        with pytest.raises(Unavailable), keeper.last_call():
            raise Unavailable("no answer")
        assert keeper.token() == "run-token-1"


def end_with_last_call(keeper: LeaseKeeper, renewals: Renewals, error: PlatformError) -> None:
    """The call that gives the claim back fails; from then on every renewal is refused."""
    with keeper.last_call():
        renewals.error = Conflict("the run does not hold it", code="claim_lost")
        raise error


def test_a_refused_renewal_says_nothing_while_a_last_call_has_no_answer() -> None:
    """The call may have succeeded, and then the control plane refuses the renewal for that."""
    renewals, closings = Renewals(), Closings()
    with keeping(claim(heartbeat_seconds=0.02), renewals, closings) as keeper:
        with pytest.raises(Unavailable):
            end_with_last_call(keeper, renewals, Unavailable("no answer"))
        renewed = len(renewals.tokens)
        while len(renewals.tokens) < renewed + 2:
            assert renewals.renewed.wait(5)
            renewals.renewed.clear()
        assert closings.seen == []
        with keeper.last_call():
            pass
        assert keeper.is_over
    assert closings.seen == []


def test_a_refused_last_call_leaves_a_lost_claim_lost() -> None:
    renewals, closings = Renewals(), Closings()
    with keeping(claim(heartbeat_seconds=0.02), renewals, closings) as keeper:
        with pytest.raises(Conflict):
            end_with_last_call(keeper, renewals, Conflict("not yours", code="claim_lost"))
        assert closings.happened.wait(5)
    assert closings.seen == [Closing.CLAIM_LOST]


def test_a_refused_renewal_counts_again_once_a_call_has_kept_the_claim() -> None:
    renewals, closings = Renewals(), Closings()
    with keeping(claim(heartbeat_seconds=0.02), renewals, closings) as keeper:
        with keeper.deciding_call() as call:
            call.gives_back = False
        assert keeper.token()
        renewals.error = Conflict("not yours", code="claim_lost")
        assert closings.happened.wait(5)
    assert closings.seen == [Closing.CLAIM_LOST]


def test_a_look_that_breaks_is_followed_by_another() -> None:
    looks: list[int] = []
    twice = threading.Event()

    def is_terminated() -> bool:
        looks.append(1)
        if len(looks) == 2:
            twice.set()
        raise OSError("database away")

    with keeping(claim(), Renewals(), Closings(), is_terminated):
        assert twice.wait(5)
