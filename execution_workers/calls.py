"""A call as it counts: who runs, for which request, which step, do or undo."""

from __future__ import annotations

from dataclasses import dataclass

from idp_kernel.errors import InvalidInput, NotAllowed
from idp_kernel.tokens import RunClaims
from idp_kernel.wire.worker import UNDO_SUFFIX, AppEnvSubject
from idp_kernel.workflows import Step

IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True)
class Call:
    """One verified call of a run for one step of its request."""

    request_id: str
    generation: int
    step: Step
    fence: int
    team_id: str
    team: str


def verified_call(
    claims: RunClaims, idempotency_key: str | None, step: Step, *, undo: bool
) -> Call:
    """The call that a run token and an idempotency key agree on.

    Raises `InvalidInput`: `idempotency_key_missing` without a key, `idempotency_key_mismatch`
    when it is not `<request id>/<generation>/<step>` of this token and address.
    """
    wanted = f"{claims.request_id}/{claims.generation}/{step}" + (UNDO_SUFFIX if undo else "")
    if not idempotency_key:
        raise InvalidInput(
            f"The call has no {IDEMPOTENCY_KEY_HEADER}; send {wanted}.",
            code="idempotency_key_missing",
        )
    if idempotency_key != wanted:
        raise InvalidInput(
            f"The {IDEMPOTENCY_KEY_HEADER} does not belong to this token and address, "
            f"which take {wanted}.",
            code="idempotency_key_mismatch",
        )
    return Call(
        request_id=claims.request_id,
        generation=claims.generation,
        step=step,
        fence=claims.fence,
        team_id=claims.team_id,
        team=claims.team,
    )


def require_own_team(call: Call, subject: AppEnvSubject, *owners: str) -> None:
    """Raises `NotAllowed` (`foreign_team`) unless all belongs to the token's team."""
    foreign = {subject.team, *owners} - {call.team}
    if foreign:
        raise NotAllowed(
            f"The run works for team {call.team} and may touch nothing of "
            f"{', '.join(sorted(foreign))}.",
            code="foreign_team",
        )
