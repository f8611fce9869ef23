"""The plan of cells comes from the products' own lists, whole."""

from __future__ import annotations

from control_plane import failpoints as api
from execution_workers import failpoints as workers
from idp_dagster import failpoints as engine
from idp_kernel.workflows import WORKFLOWS, Step, WorkflowName
from tests.chaos.cells import (
    CLAIM,
    COMMAND,
    ELSEWHERE,
    ENDS,
    WAY_OF_WORKFLOW,
    WORKFLOW_OF_WAY,
    Boundary,
    Cell,
    Victim,
    Way,
    boundaries,
    cells,
    in_order,
    next_batch,
)

EVERY_FAILPOINT = {*api.FAILPOINTS, *engine.FAILPOINTS, *workers.FAILPOINTS}


def test_each_failpoint_is_a_boundary_or_is_told_to_be_elsewhere() -> None:
    planned = {each.failpoint for each in boundaries()}
    assert planned | set(ELSEWHERE) == EVERY_FAILPOINT
    assert not planned & set(ELSEWHERE)


def test_each_step_of_each_workflow_has_boundaries_before_and_after_its_call() -> None:
    planned = {(each.workflow, each.step, each.failpoint) for each in boundaries()}
    for workflow in WORKFLOWS.values():
        for step in workflow.steps:
            for place in (engine.before_call(step), engine.after_call(step)):
                assert (workflow.name, step, place) in planned


def test_each_workflow_is_killed_at_its_command_its_claims_and_its_end() -> None:
    for workflow in WORKFLOWS.values():
        mine = [each.failpoint for each in boundaries() if each.workflow is workflow.name]
        assert mine.count(CLAIM) == len(workflow.phases)
        assert mine.count(COMMAND) == 1
        assert [each for each in mine if each in ENDS] == list(ENDS)


def test_an_undo_is_held_at_what_it_undoes() -> None:
    ways = {each.failpoint: each.way for each in boundaries() if each.step is Step.UNDO_EFFECTS}
    assert ways[workers.after_undo(Step.SEED_REPOSITORIES)] is Way.UNDO_ONBOARDING
    assert ways[workers.after_undo(Step.PROVISION_SECRETS)] is Way.UNDO_PROVISIONING
    assert ways[workers.SECRET_REMOVED_AT_ISSUER] is Way.UNDO_PROVISIONING


def test_a_boundary_s_way_is_one_of_its_workflow() -> None:
    assert set(WAY_OF_WORKFLOW) == set(WORKFLOWS)
    assert all(WORKFLOW_OF_WAY[each.way] == each.workflow for each in boundaries())


def test_every_boundary_meets_every_victim_once() -> None:
    planned = cells()
    assert len(planned) == len(boundaries()) * len(Victim)
    assert len({each.name for each in planned}) == len(planned)


def test_cells_are_chosen_by_pattern_and_number() -> None:
    wanted = cells("SecretRotation/*/postgres")
    assert {each.boundary.workflow for each in wanted} == {WorkflowName.SECRET_ROTATION}
    assert {each.victim for each in wanted} == {Victim.POSTGRES}
    assert cells("") == []
    few = cells(limit=20)
    assert len(set(few)) == 20
    assert {each.victim for each in few} == set(Victim)
    assert cells("SecretRotation/*/postgres", limit=1000) == wanted


def test_batches_have_one_victim_and_no_place_twice_and_end() -> None:
    waiting = cells()
    while waiting:
        batch = next_batch(waiting, 14)
        assert 0 < len(batch) <= 14
        assert len({each.victim for each in batch}) == 1
        places = [each.boundary.failpoint for each in batch]
        assert len(set(places)) == len(places)
        taken = set(batch)
        waiting = [each for each in waiting if each not in taken]


def test_one_victim_s_cells_are_few_batches() -> None:
    """Of the places that every workflow has, one request stands at each at a time."""
    waiting, batches = in_order(cells("*/postgres")), 0
    while waiting:
        taken = set(next_batch(waiting, 20))
        waiting, batches = in_order(each for each in waiting if each not in taken), batches + 1
    assert batches <= 9


def test_requests_that_could_stand_in_for_each_other_are_not_held_together() -> None:
    def cell(place: str, way: Way) -> Cell:
        at = Boundary(WORKFLOW_OF_WAY[way], Step.VALIDATE_ROTATION, place, way)
        return Cell(at, Victim.DAEMON)

    revoked, decommissioned = cell("a", Way.REVOCATION), cell("b", Way.DECOMMISSIONING)
    assert next_batch([revoked, decommissioned], 9) == [revoked]
    disabled = cell(workers.LOGIN_DISABLED, Way.ROTATION)
    assert next_batch([disabled, revoked], 9) == [disabled]
    assert next_batch([revoked, disabled], 9) == [revoked]
    first, second = cell(ENDS[0], Way.ROTATION), cell(ENDS[1], Way.PROVISIONING)
    assert next_batch([first, second], 9) == [first]
    both = [cell(each, Way.ROTATION) for each in ENDS]
    assert next_batch(both, 9) == both
    through = cell(COMMAND, Way.PROVISIONING)
    assert next_batch([through, first], 9) == [through]
