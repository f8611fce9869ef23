"""What the steps that end secrets do for each of them, and what they look for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from idp_dagster.outcomes import StepAttempt
from idp_dagster.patience import Patience, each_in_a_call, is_achieved_in_time
from idp_dagster.ports import CallPermit, ControlPlane, EndingProvider
from idp_kernel.pull_requests import AwaitedMerges
from idp_kernel.wire.engine import SecretsToEnd, StepResult
from idp_kernel.wire.worker import (
    ArchiveRepositories,
    Findings,
    RotatedSecret,
    StepEffects,
    VerifySecretEnded,
)
from idp_kernel.workflows import WaitingReason


class ReleasePatience(Patience):
    """How long the consumers get to lose a secret before it ends."""

    longest_seconds: float = 20.0


def done_to_each(
    wanted: SecretsToEnd,
    attempt: StepAttempt,
    act: Callable[[RotatedSecret, CallPermit], StepEffects],
) -> StepResult:
    """What became of all secrets, one call for each; one that fails keeps those before it, and one
    that waits for a pull request holds up none of the others.
    """
    done: list[StepEffects] = []
    merges = AwaitedMerges()
    for secret in wanted.secrets:
        with merges.passed_by(), attempt.call() as permit:
            done.append(act(secret, permit))
    merges.require_none()
    return StepResult(
        items=tuple(item for effects in done for item in effects.items),
        events=tuple(event for effects in done for event in effects.events),
    )


def questions(
    provider: EndingProvider,
    secrets: Iterable[RotatedSecret],
    archives: Iterable[ArchiveRepositories] = (),
) -> list[Callable[[CallPermit], Findings]]:
    """What is left of each of them."""
    bodies = [VerifySecretEnded(**dict(each)) for each in secrets]
    return [
        *(partial(provider.look_at_archived, each) for each in archives),
        *(partial(provider.look, each) for each in bodies),
    ]


def is_gone_in_time(
    control_plane: ControlPlane,
    attempt: StepAttempt,
    patience: Patience,
    looks: Sequence[Callable[[CallPermit], Findings]],
) -> bool:
    """Whether nothing is left in time; otherwise the request was sent to wait."""
    return is_achieved_in_time(
        control_plane,
        attempt,
        patience,
        look=each_in_a_call(looks),
        judge=lambda seen: StepResult() if are_gone(seen) else None,
        words=what_is_left,
        waiting_reason=WaitingReason.ENDED_STILL_SEEN,
    )


def binding_ids(wanted: SecretsToEnd) -> frozenset[str]:
    """Of all bindings of the secrets."""
    return frozenset(target.binding_id for each in wanted.secrets for target in each.bindings)


def what_is_left(seen: Iterable[Findings]) -> str:
    """In words."""
    findings = (each for found in seen for each in found.items)
    return "; ".join(each.found for each in findings if not each.passed)


def are_gone(seen: Iterable[Findings], *, among: Collection[str] | None = None) -> bool:
    """Whether nothing is left, of the things with these ids or of all."""
    findings = (each for found in seen for each in found.items)
    return all(each.passed for each in findings if among is None or each.id in among)
