"""A call as it counts: who runs, for which request, which step, do or undo."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from idp_kernel.errors import InvalidInput, NotAllowed
from idp_kernel.telemetry.subjects import (
    APPLICATION_ENVIRONMENT_ID,
    APPLICATION_ID,
    SECRET_ID,
    subject_attributes,
)
from idp_kernel.tokens import RunClaims
from idp_kernel.wire.worker import UNDO_SUFFIX, AppEnvSubject, RotatedSecret, Subject
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
    deadline: datetime
    """Of the request; nothing is changed for it afterwards."""


SECRET_ITEMS = frozenset({"secret", "credential", "retirement", "ending"})
"""Kinds of items that are named after a secret."""


def verified_call(
    claims: RunClaims, idempotency_key: str | None, steps: Collection[Step], *, undo: bool
) -> Call:
    """The call that a run token and an idempotency key agree on, for one of the address's steps.

    Raises `NotAllowed` (`token_for_undo`) when a token that is for an undo would do something;
    `InvalidInput`: `idempotency_key_missing` without a key, `idempotency_key_mismatch` when it is
    not `<request id>/<generation>/<step>` of this token and address.
    """
    if claims.is_for_undo and not undo:
        raise NotAllowed(
            f"The token is for the undo of request {claims.request_id} and does nothing for it.",
            code="token_for_undo",
        )
    suffix = UNDO_SUFFIX if undo else ""
    by_key = {f"{claims.request_id}/{claims.generation}/{step}{suffix}": step for step in steps}
    wanted = " or ".join(by_key)
    if not idempotency_key:
        raise InvalidInput(
            f"The call has no {IDEMPOTENCY_KEY_HEADER}; send {wanted}.",
            code="idempotency_key_missing",
        )
    if idempotency_key not in by_key:
        raise InvalidInput(
            f"The {IDEMPOTENCY_KEY_HEADER} does not belong to this token and address, "
            f"which take {wanted}.",
            code="idempotency_key_mismatch",
        )
    return Call(
        request_id=claims.request_id,
        generation=claims.generation,
        step=by_key[idempotency_key],
        fence=claims.fence,
        team_id=claims.team_id,
        team=claims.team,
        deadline=datetime.fromtimestamp(claims.deadline, UTC),
    )


def require_own_team(call: Call, subject: Subject, *owners: str) -> None:
    """Raises `NotAllowed` (`foreign_team`) unless all belongs to the token's team."""
    foreign = {subject.team, *owners} - {call.team}
    if foreign:
        raise NotAllowed(
            f"The run works for team {call.team} and may touch nothing of "
            f"{', '.join(sorted(foreign))}.",
            code="foreign_team",
        )


def require_own_secret(call: Call, body: RotatedSecret) -> None:
    """Raises `NotAllowed` (`foreign_team`) unless the secret, its place in the store and all that
    it is bound to belong to the token's team.
    """
    bound = (team for each in body.bindings for team in (each.subject.team, each.repository.owner))
    require_own_team(call, body.subject, *bound)
    require_team_paths(call.team, [body.store_path])


def require_team_paths(team: str, paths: Iterable[str]) -> None:
    """Raises `NotAllowed` (`foreign_team`) for a place in the store outside of the team's."""
    own = re.compile(rf"teams/{re.escape(team)}(/[a-z0-9][a-z0-9-]*)+")
    for path in paths:
        if not own.fullmatch(path):
            raise NotAllowed(
                f"{path} leads to a secret outside of team {team}.", code="foreign_team"
            )


def attributes_of(call: Call, subject: Subject, *, item: str = "") -> dict[str, str]:
    """What a span of the call says of its subject, and of the secret that the item names."""
    kind, _, entity = item.partition("/")
    attributes = {**request_attributes(call), **_subject_attributes(subject)}
    return {**attributes, SECRET_ID: entity} if kind in SECRET_ITEMS else attributes


def request_attributes(call: Call) -> dict[str, str]:
    """What the run token alone says."""
    return subject_attributes(workflow_request_id=call.request_id, team_id=call.team_id)


def _subject_attributes(subject: Subject) -> dict[str, str]:
    if isinstance(subject, AppEnvSubject):
        return {APPLICATION_ENVIRONMENT_ID: subject.application_environment_id}
    return {APPLICATION_ID: subject.application_id}
