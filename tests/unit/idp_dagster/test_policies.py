"""Which errors are tried again, and how long that may take."""

from __future__ import annotations

import pytest
from dagster import DagsterExecutionInterruptedError, Failure, RetryPolicy
from psycopg2.errors import DiskFull
from sqlalchemy.exc import OperationalError

from idp_dagster.policies import (
    LONGEST_WAIT_SECONDS,
    RETRY_POLICIES,
    STORAGE_FAILED,
    SentToWait,
    dagster_failures,
    longest_retry_waits,
    step_error,
    wait_for,
)
from idp_kernel import errors
from idp_kernel.tokens import TOKEN_EXPIRED
from idp_kernel.wire.engine import RUN_INTERRUPTED
from idp_kernel.wire.worker import DEADLINE_PASSED
from idp_kernel.workflows import WORKFLOWS, Step

FINAL = [
    errors.InvalidInput("m", code="c"),
    errors.Unauthenticated("m", code="c"),
    errors.NotAllowed("m", code="c"),
    errors.NotFound("m", code="c"),
    errors.Conflict("m", code="c"),
    errors.MoveRefused("m", code="c", current="a", wanted="b", allowed=[]),
    errors.ProviderRejected("m", code="c"),
    errors.InvariantBroken("m", code="c"),
]
A_STEP = Step.PROVISION_SECRETS


def test_every_error_of_the_tree_is_in_the_table() -> None:
    def below(error: type[errors.PlatformError]) -> set[type[errors.PlatformError]]:
        """Those of the tree; a service's own kinds never reach the engine."""
        kinds = [kind for kind in error.__subclasses__() if kind.__module__ == errors.__name__]
        return {error}.union(*map(below, kinds))

    tested = {type(error) for error in FINAL} | {errors.Unavailable, errors.PlatformError}
    assert below(errors.PlatformError) == tested


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_an_error_that_waiting_does_not_mend_is_final(error: errors.PlatformError) -> None:
    with pytest.raises(Failure) as raised, dagster_failures(A_STEP):
        raise error
    assert not raised.value.allow_retries
    told = step_error(raised.value)
    assert (told.code, told.message, told.retryable) == ("c", "m", False)


def test_unavailable_reaches_the_retry_policy() -> None:
    with pytest.raises(errors.Unavailable) as raised, dagster_failures(A_STEP):
        raise errors.Unavailable("later", code="forge_away")
    told = step_error(raised.value)
    assert (told.code, told.retryable) == ("forge_away", True)


@pytest.mark.parametrize(
    "error",
    [
        errors.Unauthenticated("The bearer token has expired.", code=TOKEN_EXPIRED),
        errors.Conflict("It passed its deadline.", code=DEADLINE_PASSED),
    ],
)
def test_what_only_the_lease_decides_is_no_verdict(error: errors.PlatformError) -> None:
    with pytest.raises(errors.Unavailable) as raised, dagster_failures(A_STEP):
        raise error
    told = step_error(raised.value)
    assert (told.code, told.retryable) == (error.code, True)


@pytest.mark.parametrize("interrupt", [DagsterExecutionInterruptedError, KeyboardInterrupt])
def test_an_interrupt_ends_the_step_for_this_run(interrupt: type[BaseException]) -> None:
    with pytest.raises(Failure) as raised, dagster_failures(A_STEP):
        raise interrupt
    assert not raised.value.allow_retries
    told = step_error(raised.value)
    assert (told.code, told.retryable) == (RUN_INTERRUPTED, True)


def test_a_foreign_error_is_told_by_its_type_only() -> None:
    with pytest.raises(Failure) as raised, dagster_failures(A_STEP):
        raise ValueError("password=hunter2")
    told = step_error(raised.value)
    assert (told.code, told.retryable) == ("invariant_broken", False)
    assert "ValueError" in told.message
    assert "hunter2" not in told.message + str(raised.value.description)
    assert raised.value.__cause__ is not None
    assert "hunter2" not in str(raised.value.__cause__)


def disk_full() -> OperationalError:
    return OperationalError("INSERT …", {"event": "hunter2"}, DiskFull("no space left"))


def test_a_storage_that_fails_within_an_op_reaches_the_retry_policy() -> None:
    with pytest.raises(errors.Unavailable) as raised, dagster_failures(A_STEP):
        raise disk_full()
    told = step_error(raised.value)
    assert (told.code, told.retryable) == (STORAGE_FAILED, True)
    assert "DiskFull" in told.message
    assert "hunter2" not in str(raised.value) + str(raised.value.__cause__)


def test_a_step_that_dagster_could_not_note_is_tried_again() -> None:
    """It ends in Dagster's own code, around the op, and is told as it is."""
    told = step_error(disk_full())
    assert (told.code, told.retryable) == (STORAGE_FAILED, True)
    assert "hunter2" not in told.message


@pytest.mark.parametrize("error", [errors.Unavailable, errors.ProviderRejected])
def test_no_credential_is_shown(error: type[errors.PlatformError]) -> None:
    with pytest.raises(Exception) as raised, dagster_failures(A_STEP):  # noqa: PT011 - either
        raise error("refused Bearer abcdef.ghijk for it")
    assert "abcdef" not in str(raised.value)
    assert "abcdef" not in step_error(raised.value).message


def test_every_step_has_a_policy_whose_waits_a_cancel_can_sit_out() -> None:
    assert set(RETRY_POLICIES) == {step for flow in WORKFLOWS.values() for step in flow.steps}
    for policy in RETRY_POLICIES.values():
        waits = longest_retry_waits(policy)
        assert 1 <= len(waits) <= 10
        assert waits == sorted(waits)
        assert sum(waits) < 10


def test_waits_are_spread_over_their_whole_length() -> None:
    policy = RETRY_POLICIES[A_STEP]
    drawn = [policy.calculate_delay(3) for _ in range(200)]
    longest = longest_retry_waits(policy)[2]
    assert max(drawn) <= longest
    assert min(drawn) < longest / 4


def test_the_longest_waits_are_those_that_dagster_draws_from() -> None:
    policy = RETRY_POLICIES[A_STEP]
    bare = RetryPolicy(policy.max_retries, policy.delay, policy.backoff, jitter=None)
    drawn_from = [bare.calculate_delay(number) for number in range(1, policy.max_retries + 1)]
    assert longest_retry_waits(policy) == pytest.approx(drawn_from)


def alone(
    seconds: float | None, code: str = "openbao_rate_limited", target: str | None = "openbao"
) -> errors.Unavailable:
    details = {} if target is None else {"target": target}
    return errors.Unavailable("m", code=code, retry_after_seconds=seconds, details=details)


@pytest.mark.parametrize(
    ("error", "retry_number", "seconds"),
    [
        (alone(3.8), 0, None),
        (alone(4), 0, 4),
        (alone(3.8), 1, 3.8),
        (alone(2), 3, None),
        (alone(2), 4, 2),
        (alone(0.1), 4, 1),
        (alone(0.1), 0, None),
        (alone(0.1, "circuit_open"), 0, 1),
        (alone(90 * 24 * 3600), 0, LONGEST_WAIT_SECONDS),
        (alone(None), 4, None),
        (alone(None, "circuit_open"), 0, None),
        (alone(60, target=None), 4, None),
        (alone(2, "pull_request_open", target=None), 0, 2),
    ],
)
def test_a_provider_is_awaited_without_a_run_when_retries_would_not_last(
    error: errors.Unavailable, retry_number: int, seconds: float | None
) -> None:
    assert wait_for(error, A_STEP, retry_number) == seconds


def test_the_end_of_a_run_whose_request_waits_is_no_failure() -> None:
    with pytest.raises(SentToWait), dagster_failures(A_STEP):
        raise SentToWait
