"""The move tables: what they allow, and that everything else is refused with a way out."""

from __future__ import annotations

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.application_environments import APPLICATION_ENVIRONMENT_MOVES
from control_plane.domain.applications import APPLICATION_MOVES
from control_plane.domain.environments import ENVIRONMENT_MOVES
from control_plane.domain.managed_secrets import SECRET_BINDING_MOVES, SECRET_MOVES, SecretState
from control_plane.domain.moves import MoveTable
from control_plane.domain.repositories import (
    APPENV_REPOSITORY_MOVES,
    CODE_REPOSITORY_MOVES,
    DEPLOYMENT_REPOSITORY_MOVES,
    GITOPS_INTEGRATION_MOVES,
)
from control_plane.domain.requests import REQUEST_MOVES
from control_plane.domain.teams import TEAM_MOVES
from idp_kernel.errors import InvariantBroken, MoveRefused

REPOSITORY = (
    "Declared provision Provisioning",
    "Provisioning give_up_provisioning Declared",
    "Provisioning activate Active",
    "Active undo Declared",
    "Active archive Archived",
    "Declared reject Archived",
)
EXPECTED: dict[str, tuple[MoveTable[StrEnum], tuple[str, ...]]] = {
    "Team": (
        TEAM_MOVES,  # type: ignore[dict-item]
        (
            "Draft activate Active",
            "Active suspend Suspended",
            "Suspended resume Active",
            "Suspended archive Archived",
        ),
    ),
    "Environment": (
        ENVIRONMENT_MOVES,  # type: ignore[dict-item]
        (
            "Planned activate Active",
            "Active freeze Frozen",
            "Frozen unfreeze Active",
            "Frozen retire Retired",
        ),
    ),
    "Application": (
        APPLICATION_MOVES,  # type: ignore[dict-item]
        (
            "Proposed approve Approved",
            "Proposed reject Archived",
            "Approved onboard Onboarding",
            "Onboarding give_up_onboarding Approved",
            "Onboarding activate Active",
            "Active undo Decommissioning",
            "Decommissioning call_off_undo Active",
            "Decommissioning end_undo Approved",
            "Active deprecate Deprecated",
            "Deprecated decommission Decommissioning",
            "Decommissioning give_up_decommissioning Deprecated",
            "Decommissioning archive Archived",
        ),
    ),
    "ApplicationEnvironment": (
        APPLICATION_ENVIRONMENT_MOVES,  # type: ignore[dict-item]
        (
            "Declared provision Provisioning",
            "Provisioning give_up_provisioning Declared",
            "Provisioning activate Active",
            "Active freeze Frozen",
            "Frozen unfreeze Active",
            "Active undo Decommissioning",
            "Decommissioning call_off_undo Active",
            "Decommissioning end_undo Declared",
            "Frozen decommission Decommissioning",
            "Decommissioning give_up_decommissioning Frozen",
            "Declared retire Retired",
            "Decommissioning retire Retired",
        ),
    ),
    "CodeRepository": (CODE_REPOSITORY_MOVES, REPOSITORY),  # type: ignore[dict-item]
    "AppEnvRepository": (APPENV_REPOSITORY_MOVES, REPOSITORY),  # type: ignore[dict-item]
    "DeploymentRepository": (DEPLOYMENT_REPOSITORY_MOVES, REPOSITORY),  # type: ignore[dict-item]
    "GitOpsIntegration": (
        GITOPS_INTEGRATION_MOVES,  # type: ignore[dict-item]
        (
            "Declared connect Connecting",
            "Connecting give_up_connecting Declared",
            "Connecting activate Active",
            "Active undo Declared",
            "Active suspend Suspended",
            "Suspended resume Active",
            "Suspended remove Removed",
            "Declared reject Removed",
        ),
    ),
    "Secret": (
        SECRET_MOVES,  # type: ignore[dict-item]
        (
            "Declared provision Provisioning",
            "Provisioning give_up_provisioning Declared",
            "Provisioning activate Active",
            "Active rotate Rotating",
            "Rotating end_rotation Active",
            "Active suspend Suspended",
            "Suspended resume Active",
            "Active undo Declared",
            "Suspended undo Declared",
            "Active revoke Revoked",
            "Suspended revoke Revoked",
            "Revoked archive Archived",
        ),
    ),
    "SecretBinding": (
        SECRET_BINDING_MOVES,  # type: ignore[dict-item]
        (
            "Declared provision Provisioning",
            "Provisioning give_up_provisioning Declared",
            "Provisioning activate Active",
            "Active suspend Suspended",
            "Suspended resume Active",
            "Active undo Declared",
            "Suspended undo Declared",
            "Suspended revoke Revoked",
        ),
    ),
    "Request": (
        REQUEST_MOVES,  # type: ignore[dict-item]
        (
            "pending claim running",
            "running release pending",
            "running wait waiting",
            "waiting wake pending",
            "running succeed succeeded",
            "pending fail failed",
            "running fail failed",
            "pending cancel cancelled",
            "running cancel cancelled",
            "waiting cancel cancelled",
            "pending time_out timed_out",
            "running time_out timed_out",
            "failed retry pending",
            "cancelled retry pending",
            "timed_out retry pending",
        ),
    ),
}


def states_of(table: MoveTable[StrEnum]) -> tuple[StrEnum, ...]:
    return tuple(type(table.initial))


@pytest.mark.parametrize("entity", EXPECTED)
def test_the_table_holds_exactly_the_moves_of_the_design(entity: str) -> None:
    table, expected = EXPECTED[entity]
    moves = {
        f"{source} {move.action} {move.target}" for move in table.moves for source in move.sources
    }
    assert moves == set(expected)


@pytest.mark.parametrize("entity", EXPECTED)
def test_every_other_move_is_refused_with_what_would_allow_it(entity: str) -> None:
    table, expected = EXPECTED[entity]
    for move in table.moves:
        for state in states_of(table):
            if f"{state} {move.action} {move.target}" in expected:
                assert table.apply(move.action, state, subject="x") is move.target
            else:
                with pytest.raises(MoveRefused) as refused:
                    table.apply(move.action, state, subject="x")
                assert_explained(refused.value, table, state, move.target)


def assert_explained(
    refusal: MoveRefused, table: MoveTable[StrEnum], state: StrEnum, wanted: StrEnum
) -> None:
    assert refusal.details["current"] == state
    assert refusal.details["wanted"] == wanted
    assert refusal.details["allowed"] == [move.target for move in table.moves_from(state)]
    way = next(move for move in table.moves if move.target is wanted)
    assert " or ".join(way.sources) in refusal.message or way.action not in refusal.message


@pytest.mark.parametrize("entity", EXPECTED)
def test_an_action_has_one_meaning_and_every_state_can_be_reached(entity: str) -> None:
    table, _ = EXPECTED[entity]
    actions = [move.action for move in table.moves]
    assert len(actions) == len(set(actions))
    assert {table.initial} | {move.target for move in table.moves} == set(states_of(table))


def test_an_unknown_action_is_a_bug() -> None:
    with pytest.raises(InvariantBroken):
        TEAM_MOVES.named("explode")


@given(st.lists(st.sampled_from([move.action for move in SECRET_MOVES.moves]), max_size=12))
def test_a_revoked_secret_never_comes_back(actions: list[str]) -> None:
    state = SecretState.REVOKED
    for action in actions:
        try:
            state = SECRET_MOVES.apply(action, state, subject="key")
        except MoveRefused:
            continue
        assert state is SecretState.ARCHIVED
