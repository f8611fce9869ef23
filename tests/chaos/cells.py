"""The plan: every boundary of every workflow, against every process that may die there.

All of it comes from the products' own lists of workflows and failpoints; what the embedded default
never passes is told in `ELSEWHERE`, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch

from control_plane import failpoints as api
from execution_workers import failpoints as workers
from idp_dagster import failpoints as engine
from idp_kernel.workflows import UNDOABLE_STEPS, WORKFLOWS, Step, Workflow, WorkflowName


class Victim(StrEnum):
    """What is killed, with no chance to say anything."""

    CONTROL_PLANE_API = "control-plane-api"
    DAEMON = "daemon"
    CODE_SERVER = "code-server"
    WORKER_CHILD = "worker-child"
    """The Celery worker's child that executes the run."""
    WORKER = "worker"
    """Its parent."""
    EXECUTION_WORKERS = "execution-workers"
    POSTGRES = "postgres"
    OPENBAO = "openbao"
    FORGE = "local-forge"
    AGENT = "local-gitops-agent"


class Way(StrEnum):
    """How a request comes past a boundary: what is asked for, and of what."""

    ONBOARDING = "onboarding"
    PROVISIONING = "provisioning"
    ROTATION = "rotation"
    EMERGENCY = "emergency rotation"
    REVOCATION = "revocation"
    DECOMMISSIONING = "decommissioning"
    APPLICATION_DECOMMISSIONING = "decommissioning of an application"
    UNDO_ONBOARDING = "undo of an onboarding"
    UNDO_PROVISIONING = "undo of a provisioning"


WAY_OF_WORKFLOW = {
    WorkflowName.APPLICATION_ONBOARDING: Way.ONBOARDING,
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: Way.PROVISIONING,
    WorkflowName.SECRET_ROTATION: Way.ROTATION,
    WorkflowName.SECRET_REVOCATION: Way.REVOCATION,
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: Way.DECOMMISSIONING,
    WorkflowName.APPLICATION_DECOMMISSIONING: Way.APPLICATION_DECOMMISSIONING,
    WorkflowName.COMPENSATION: Way.UNDO_PROVISIONING,
}
WORKFLOW_OF_WAY = {way: name for name, way in WAY_OF_WORKFLOW.items()} | {
    Way.EMERGENCY: WorkflowName.SECRET_ROTATION,
    Way.UNDO_ONBOARDING: WorkflowName.COMPENSATION,
}

_HARBOR = "only a registry has it, and the embedded default has none"
ELSEWHERE = {
    workers.PROJECT_CREATED: _HARBOR,
    workers.ROBOT_CREATED: _HARBOR,
    workers.ROBOT_SECRET_SET: _HARBOR,
}
"""Failpoints that no request of the embedded default passes, each with the reason."""
_IN_AN_UNDO = {workers.after_undo(step): step for step in UNDOABLE_STEPS} | {
    workers.SECRET_REMOVED_AT_ISSUER: Step.PROVISION_SECRETS
}
_IN_AN_EMERGENCY = {workers.CREDENTIAL_INSTALLED}
_RIVALS = (
    {Way.ROTATION, Way.EMERGENCY},
    {Way.REVOCATION, Way.DECOMMISSIONING},
    {Way.UNDO_ONBOARDING, Way.UNDO_PROVISIONING},
)
"""Ways that pass places of the same name, so that one could be held in the other's stead."""
_PASSED_BY_OTHERS = {workers.LOGIN_DISABLED: {Way.REVOCATION, Way.DECOMMISSIONING}}
"""Places of one way that others pass, too."""
COMMAND = api.COMMAND_AFTER_COMMIT
CLAIM = engine.AFTER_CLAIM
ENDS = (api.FINALIZE_BEFORE_COMMIT, api.FINALIZE_AFTER_COMMIT)
"""Every way passes them, last."""
_RUN_THROUGH = {COMMAND, *ENDS}
"""A request held at its command goes on all the same, past the places of its way."""


@dataclass(frozen=True)
class Boundary:
    """A place in the life of a request."""

    workflow: WorkflowName
    step: Step
    failpoint: str
    way: Way
    phase: int = 1


@dataclass(frozen=True)
class Cell:
    """A boundary, and who dies while a request stands there."""

    boundary: Boundary
    victim: Victim

    @property
    def name(self) -> str:
        """`<workflow>/<step>/<failpoint>/<victim>`, which `CELLS` is compared with."""
        at = self.boundary
        return f"{at.workflow}/{at.step}/{at.failpoint}/{self.victim}"


def boundaries() -> list[Boundary]:
    """Every boundary that the embedded default has, in the order of the workflows."""
    return [each for workflow in WORKFLOWS.values() for each in _boundaries_of(workflow)]


def _boundaries_of(workflow: Workflow) -> Iterator[Boundary]:
    name, way = workflow.name, WAY_OF_WORKFLOW[workflow.name]
    yield Boundary(name, workflow.steps[0], COMMAND, way)
    for number, phase in enumerate(workflow.phases, start=1):
        yield Boundary(name, phase.steps[0], CLAIM, way, number)
        for step in phase.steps:
            yield from _of_step(workflow, step, way, number)
        if phase.wait_after is not None:
            for place in (
                engine.BEFORE_END_PHASE,
                api.END_PHASE_BEFORE_COMMIT,
                api.END_PHASE_AFTER_COMMIT,
                engine.AFTER_END_PHASE,
            ):
                yield Boundary(name, phase.steps[-1], place, way, number)
    for place in ENDS:
        yield Boundary(name, workflow.steps[-1], place, way, len(workflow.phases))


def _of_step(workflow: Workflow, step: Step, way: Way, phase: int) -> Iterator[Boundary]:
    yield Boundary(workflow.name, step, engine.before_call(step), way, phase)
    for place in workers.FAILPOINTS:
        if place in ELSEWHERE:
            continue
        if place in _IN_AN_UNDO:
            if step is Step.UNDO_EFFECTS:
                yield Boundary(workflow.name, step, place, _way_of_undo(_IN_AN_UNDO[place]), phase)
        elif place.split(".")[1] == step:
            passing = Way.EMERGENCY if place in _IN_AN_EMERGENCY else way
            yield Boundary(workflow.name, step, place, passing, phase)
    yield Boundary(workflow.name, step, engine.after_call(step), way, phase)


def _way_of_undo(undone: Step) -> Way:
    onboarding = WORKFLOWS[WorkflowName.APPLICATION_ONBOARDING]
    return Way.UNDO_ONBOARDING if undone in onboarding.steps else Way.UNDO_PROVISIONING


def cells(pattern: str = "*", limit: int | None = None) -> list[Cell]:
    """Those whose name matches; of too many an even choice over all of them."""
    every = [Cell(at, victim) for victim in Victim for at in boundaries()]
    wanted = [each for each in every if fnmatch(each.name, pattern)]
    if limit is None or limit >= len(wanted):
        return wanted
    return [wanted[number * len(wanted) // limit] for number in range(limit)]


def in_order(planned: Iterable[Cell]) -> list[Cell]:
    """One victim after the other; of each first the places that many workflows have, since only one
    request stands at them at a time: the batches are as few as they can be.
    """
    every, victims = list(planned), list(Victim)
    shared = Counter((each.victim, each.boundary.failpoint) for each in every)

    def rank(cell: Cell) -> tuple[int, int]:
        return victims.index(cell.victim), -shared[cell.victim, cell.boundary.failpoint]

    return sorted(every, key=rank)


def next_batch(open_cells: Sequence[Cell], size: int) -> list[Cell]:
    """Cells of one victim that requests can stand at together: at most `size`, at least one."""
    chosen: list[Cell] = []
    for cell in open_cells:
        if len(chosen) == size:
            break
        if cell.victim is open_cells[0].victim and _fits(cell.boundary, chosen):
            chosen.append(cell)
    return chosen


def _fits(at: Boundary, chosen: Iterable[Cell]) -> bool:
    """Whether no other request of the batch could be held in this one's stead, nor it in another's.

    The ends are passed by whoever is not held before, so only by requests of one way. Where several
    requests of a way are held at different places, it does not matter which stands where.
    """
    for other in (each.boundary for each in chosen):
        if at.failpoint == other.failpoint:
            return False
        if at.way != other.way:
            if any({at.way, other.way} <= rivals for rivals in _RIVALS):
                return False
            if _passes(at.way, other.failpoint) or _passes(other.way, at.failpoint):
                return False
            if at.failpoint in _RUN_THROUGH and other.failpoint in _RUN_THROUGH:
                return False
    return True


def _passes(way: Way, place: str) -> bool:
    return way in _PASSED_BY_OTHERS.get(place, ())
