"""Which errors of a step are tried again in the run, how often, and what is told of the others.

    error                       in the run                            told as retryable
    Unavailable                 reaches the step's retry policy       yes
      and a provider is awaited none: the request waits               not told
    a token that expired on     as Unavailable: the next try has      yes
      its way, a deadline       a new token, or none
    any other of our tree       Failure(allow_retries=False)          no
    interrupt                   Failure(allow_retries=False)          yes: the next attempt may work
    Dagster's storage failed    in an op: as Unavailable              yes: it was full, or away
                                around it: ends the step
    anything else (a bug)       Failure(allow_retries=False)          no

Retryable means that the control plane may offer a further attempt; that is its decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from dagster import Backoff, DagsterExecutionInterruptedError, Failure, Jitter, RetryPolicy
from sqlalchemy.exc import DBAPIError

from idp_kernel.downstream import PULL_REQUEST_OPEN, Refusal
from idp_kernel.errors import InvariantBroken, PlatformError, Unavailable
from idp_kernel.telemetry.logs import redact
from idp_kernel.tokens import TOKEN_EXPIRED
from idp_kernel.wire.engine import MESSAGE_LENGTH, RUN_INTERRUPTED, StepError
from idp_kernel.wire.worker import DEADLINE_PASSED
from idp_kernel.workflows import Step

STORAGE_FAILED = "engine_storage_failed"
"""Code of a step's error that says Dagster's own database did not do as it was asked. The engine
has no other, so each error of a database is one of its storage."""

_log = structlog.get_logger(__name__)


def _policy(*, max_retries: int) -> RetryPolicy:
    """Waits at most 0.3, 0.9, 2.1, 4.5 s before the next tries, each shortened at random. A cancel
    that comes during a wait is held back until it is over; longer waits end the run in `waiting`.
    """
    return RetryPolicy(
        max_retries=max_retries, delay=0.3, backoff=Backoff.EXPONENTIAL, jitter=Jitter.FULL
    )


RETRY_POLICIES: dict[Step, RetryPolicy] = {
    Step.VALIDATE_APPLICATION: _policy(max_retries=4),
    Step.CREATE_CODE_REPOSITORY: _policy(max_retries=4),
    Step.CREATE_DEPLOYMENT_REPOSITORY: _policy(max_retries=4),
    Step.SEED_REPOSITORIES: _policy(max_retries=4),
    Step.APPLY_REPOSITORY_PROTECTION: _policy(max_retries=4),
    Step.DECLARE_APPLICATION_ENVIRONMENTS: _policy(max_retries=4),
    Step.FINALIZE_APPLICATION_ONBOARDING: _policy(max_retries=4),
    Step.MATERIALIZE_REPOSITORIES: _policy(max_retries=4),
    Step.APPLY_BRANCH_PROTECTION: _policy(max_retries=4),
    Step.PROVISION_SECRETS: _policy(max_retries=4),
    Step.CREATE_SECRET_BINDINGS: _policy(max_retries=4),
    # Looks again by itself; a policy covers the moment when nobody answers.
    Step.VERIFY_GITOPS_RECONCILIATION: _policy(max_retries=4),
    Step.FINALIZE_APPLICATION_ENVIRONMENT_PROVISIONING: _policy(max_retries=4),
    Step.VALIDATE_ROTATION: _policy(max_retries=4),
    Step.ISSUE_NEW_CREDENTIAL: _policy(max_retries=4),
    Step.VERIFY_NEW_CREDENTIAL: _policy(max_retries=4),
    Step.UPDATE_SECRET_BINDINGS: _policy(max_retries=4),
    # Looks again by itself, as the verification of GitOps does.
    Step.CONFIRM_CONSUMERS: _policy(max_retries=4),
    Step.RETIRE_OLD_CREDENTIAL: _policy(max_retries=4),
    Step.FINALIZE_SECRET_ROTATION: _policy(max_retries=4),
    Step.REMOVE_SECRET_BINDINGS: _policy(max_retries=4),
    # Looks again by itself, as the verification of GitOps does.
    Step.RELEASE_CONSUMERS: _policy(max_retries=4),
    Step.END_CREDENTIALS: _policy(max_retries=4),
    # Looks again by itself, as the verification of GitOps does.
    Step.VERIFY_SECRETS_ENDED: _policy(max_retries=4),
    Step.FINALIZE_SECRET_REVOCATION: _policy(max_retries=4),
    Step.ARCHIVE_ENVIRONMENT_REPOSITORY: _policy(max_retries=4),
    # Looks again by itself, as the verification of GitOps does.
    Step.VERIFY_NOTHING_RECONCILED: _policy(max_retries=4),
    Step.FINALIZE_APPLICATION_ENVIRONMENT_DECOMMISSIONING: _policy(max_retries=4),
    Step.ARCHIVE_APPLICATION_REPOSITORIES: _policy(max_retries=4),
    # Looks again by itself, as the verification of GitOps does.
    Step.VERIFY_APPLICATION_ENDED: _policy(max_retries=4),
    Step.FINALIZE_APPLICATION_DECOMMISSIONING: _policy(max_retries=4),
    Step.STOP_UNDONE_REQUEST: _policy(max_retries=4),
    Step.UNDO_EFFECTS: _policy(max_retries=4),
    # Looks again by itself, as the verification of GitOps does.
    Step.VERIFY_NOTHING_LEFT: _policy(max_retries=4),
    Step.FINALIZE_COMPENSATION: _policy(max_retries=4),
}

LONGEST_WAIT_SECONDS = 24 * 3600.0
"""Of those that an error asks for; then it is tried all the same."""
_SHORTEST_WAIT_SECONDS = 1.0


def longest_retry_waits(policy: RetryPolicy) -> list[float]:
    """How many seconds at most each of the policy's retries waits, the first one first."""
    delay = float(policy.delay or 0)
    return [delay * (2**number - 1) for number in range(1, policy.max_retries + 1)]


def wait_for(error: Unavailable, step: Step, retry_number: int) -> float | None:
    """How many seconds the request waits after this error of a step's try, the first being 0; None
    when the step's own retries sit it out.

    It waits for a pull request that is open, and for a provider that says when to come again,
    unless that is within what is left of the retries' waits, which are half of the longest on
    average. So no attempt is used up.
    """
    seconds = error.retry_after_seconds
    if error.code == PULL_REQUEST_OPEN:
        return seconds
    if seconds is None or "target" not in error.details:
        return None
    left = longest_retry_waits(RETRY_POLICIES[step])[retry_number:]
    if error.code != Refusal.CIRCUIT_OPEN and seconds <= sum(left) / 2:
        return None
    return min(max(seconds, _SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)


ENQUEUE_RETRY_POLICY = _policy(max_retries=4)
"""Of `secret_rotation_enqueue`: the next scheduled time finds what an outage left due."""
CHECK_RETRY_POLICY = _policy(max_retries=2)
"""Of asset checks: the next scheduled look is minutes away."""


_NO_VERDICTS = (TOKEN_EXPIRED, DEADLINE_PASSED)
"""A token was good when its call began, and a deadline may have passed by the workers' clock alone:
the next try asks the lease."""


class SentToWait(Exception):
    """The request waits, so this run carries out no further step; `for_what` is the error that says
    what it waits for, where there is one.
    """

    def __init__(self, for_what: Unavailable | None = None) -> None:
        super().__init__(for_what)
        self.for_what = for_what


@contextmanager
def dagster_failures(step: str) -> Iterator[None]:
    """Translates what is raised inside the op of that name, as the table above says."""
    try:
        yield
    except SentToWait:
        raise
    except Unavailable as error:
        error.args = (redact(error.message),)
        raise
    except PlatformError as error:
        if error.code not in _NO_VERDICTS:
            raise _failure(error) from error
        raise Unavailable(error.message, code=error.code) from error
    except DBAPIError as error:
        # Without its cause, which has the statement's parameters.
        raise _storage_failed(error) from None
    except (DagsterExecutionInterruptedError, KeyboardInterrupt):
        # Left as it is, Dagster would hand it to the retry policy and the step would run again.
        interrupted = Unavailable(f"{step} was interrupted.", code=RUN_INTERRUPTED)
        raise _failure(interrupted) from interrupted
    except Exception as error:  # noqa: BLE001 - a bug's exception can be any
        _log.exception("step_broken", step=step)
        # Only the type: the message of a foreign error may hold what is private.
        broken = InvariantBroken(f"{step} met an unexpected {type(error).__name__}; see the logs.")
        raise _failure(broken) from broken


def step_error(exception: BaseException | None) -> StepError:
    """What is told of a failed step."""
    error = exception.__cause__ if isinstance(exception, Failure) else exception
    if isinstance(error, DBAPIError):
        error = _storage_failed(error)
    if not isinstance(error, PlatformError):
        error = InvariantBroken(f"The step failed with {type(error).__name__}.")
    return StepError(
        code=error.code,
        message=redact(error.message)[:MESSAGE_LENGTH],
        retryable=isinstance(error, Unavailable),
    )


def _storage_failed(error: DBAPIError) -> Unavailable:
    kind = type(error.orig or error).__name__
    return Unavailable(f"Dagster's own storage failed with {kind}.", code=STORAGE_FAILED)


def _failure(error: PlatformError) -> Failure:
    return Failure(
        redact(error.message)[:MESSAGE_LENGTH], metadata={"code": error.code}, allow_retries=False
    )
