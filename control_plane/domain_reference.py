"""The page `docs/domain.md`: what there is, its states and rules, drawn from the move tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from control_plane.domain.application_environments import APPLICATION_ENVIRONMENT_MOVES
from control_plane.domain.applications import APPLICATION_MOVES
from control_plane.domain.environments import ENVIRONMENT_MOVES
from control_plane.domain.managed_secrets import SECRET_BINDING_MOVES, SECRET_MOVES
from control_plane.domain.moves import MoveTable
from control_plane.domain.repositories import (
    APPENV_REPOSITORY_MOVES,
    CODE_REPOSITORY_MOVES,
    DEPLOYMENT_REPOSITORY_MOVES,
    GITOPS_INTEGRATION_MOVES,
)
from control_plane.domain.requests import REQUEST_MOVES
from control_plane.domain.teams import TEAM_MOVES
from idp_kernel.retention import LONGEST_APPROVAL, REPEATABLE_FOR
from idp_kernel.settings_reference import GENERATED_NOTE
from idp_kernel.workflows import WORKFLOWS, Workflow


@dataclass(frozen=True)
class Chapter:
    """One state machine for readers: the entities that share it, what they are, what holds."""

    title: str
    tables: tuple[MoveTable[Any], ...]
    text: str
    rules: tuple[str, ...]


CHAPTERS = (
    Chapter(
        "Team",
        (TEAM_MOVES,),
        "Owns applications and has members. A `team-viewer` sees everything of the team; a"
        " `team-maintainer` changes its members and what it owns, and asks for workflows. A"
        " platform-admin may do both everywhere, and alone changes the team itself.",
        (
            "Only an Active team starts workflows (`team_not_active`).",
            "It is archived once all its applications are (`team_in_use`).",
        ),
    ),
    Chapter(
        "Application",
        (APPLICATION_MOVES,),
        "Something a team builds and runs, with a code and a deployment repository.",
        (
            "An application has one team, for ever: no command changes it.",
            (
                "Where the team's policy asks for it, a new application is Proposed, and its"
                " onboarding waits (`approval_pending`) until a maintainer of the team who has not"
                " proposed it (`own_proposal`), or a platform-admin, approves or rejects it. What"
                " is Proposed needs that whatever the policy becomes; every other one is Approved"
                " at once."
            ),
            (
                f"Its onboarding waits for {LONGEST_APPROVAL.days} days and then fails"
                " (`approval_not_given`). However that ends before, the application stays Proposed"
                " and can be proposed anew; a rejected one is Archived for good, with its"
                " repositories that were never made."
            ),
            (
                "Environments are asked for once it is Active (`application_not_ready`); those that"
                " its registration names are declared while it is Onboarding."
            ),
            (
                "An onboarding that fails, times out or is cancelled gives it back as Approved, so"
                " that it can be asked for again."
            ),
            (
                "An undo of its onboarding makes it Decommissioning and then Approved, once none of"
                " its environments is in use (`application_in_use`)."
            ),
            (
                "A decommissioning takes it from Deprecated to Archived, once every environment of"
                " it is Retired or has nothing (`application_in_use`); one that comes to no end"
                " gives it back as Deprecated."
            ),
        ),
    ),
    Chapter(
        "Environment",
        (ENVIRONMENT_MOVES,),
        "A place for all applications, such as dev or prod.",
        ("Nothing is provisioned in one that is not Active (`environment_not_active`).",),
    ),
    Chapter(
        "Application environment",
        (APPLICATION_ENVIRONMENT_MOVES,),
        "One application in one environment: a repository of its own, secrets and their"
        " bindings, and the revision that the bindings stand at.",
        (
            "The pair of application and environment is there at most once.",
            "A provisioning that fails, times out or is cancelled gives it back as Declared.",
            (
                "An undo of its provisioning makes it Decommissioning and then Declared; one that"
                " ends before any run began it gives it back as Active."
            ),
            (
                "While it is Active it gets further secrets (`application_environment_not_ready`)."
                " It stays Active whatever becomes of that request, whose undo takes back what it"
                " added alone. Its first provisioning is undone after those"
                " (`secrets_added_since`), and after the end of what they added and their undo left"
                " in use (`added_secret_in_use`)."
            ),
            (
                "A decommissioning takes it from Frozen to Retired, with all its secrets and what"
                " runs left of those that are Declared; one that comes to no end gives it back as"
                " Frozen, its secrets suspended if a run began."
            ),
        ),
    ),
    Chapter(
        "Secret",
        (SECRET_MOVES,),
        "A reference to a value in the secret store; the value itself is never here.",
        (
            (
                "A revoked secret never comes back. It is Suspended while a revocation is at work,"
                " and stays so when that comes to no end; one that ends before any run began it"
                " gives it back as it was."
            ),
            (
                "It rotates only while it is Active, and does not begin to while its environment is"
                " provisioned or gets further secrets; a rotation in its grace ends all the same."
            ),
            "However a rotation ends, the version that the bindings pin works before and after.",
            (
                "It is Declared again, without a version, when its provisioning was undone. A value"
                " that the undo kept is adopted when it is provisioned anew. One that was added to"
                " an Active environment and rotated since stays in use, as its binding does."
            ),
            "What issues its values never changes: one issuer cannot take back what another made.",
        ),
    ),
    Chapter(
        "Secret binding",
        (SECRET_BINDING_MOVES,),
        "Brings a secret into an application environment and pins one version of it.",
        ("A binding becomes Active only while its secret is (`secret_not_active`).",),
    ),
    Chapter(
        "Repository",
        (CODE_REPOSITORY_MOVES, DEPLOYMENT_REPOSITORY_MOVES, APPENV_REPOSITORY_MOVES),
        "At the forge: an application's code, what is deployed of it, and one for each"
        " application environment. All three move alike.",
        (
            (
                "What belongs to somebody else is never adopted; an onboarding finds out before it"
                " makes anything (`application_not_valid`)."
            ),
        ),
    ),
    Chapter(
        "GitOps integration",
        (GITOPS_INTEGRATION_MOVES,),
        "Links an application to the deployment repository that says what shall run.",
        (),
    ),
)

REQUEST_CHAPTER = Chapter(
    "Workflow request",
    (REQUEST_MOVES,),
    "A workflow that somebody asked for. [The life of a request](request-life.md) tells how it"
    " gets from one state to the next.",
    (
        (
            "An application, an application environment and a secret each have at most one request"
            " at work; a second one is refused with the id of the first (`workflow_active`)."
        ),
        (
            "A rotation in its grace period is not at work: an emergency ends it, unless it"
            " brought into use what a person had set (`persons_value_in_grace`), and any other"
            " rotation of the secret is refused (`rotation_in_grace`)."
        ),
        "A request waits without a run, a worker or a connection.",
        (
            "Every claim raises the fence: a run that lost its claim can start no effect any more"
            " (`claim_lost`)."
        ),
        (
            "It fails only on an outcome that cannot be retried, on a rule that is broken by the"
            " time it is claimed, or when its attempts are used up: each step that it achieves"
            " for the first time gives it all of them again."
        ),
        (
            "What was undone is not retried (`request_undone`); it is asked for anew. It is undone"
            " once, and again only where the undo before kept something."
        ),
        (
            f"It is retried and undone for {REPEATABLE_FOR.days} days from its command on; then it"
            " is too old (`request_too_old`), since what is known of its effects is not kept for"
            " ever."
        ),
    ),
)

INTRODUCTION = """\
What the control plane keeps, and which state follows which. An arrow is a move; what no arrow
allows is refused with `move_refused`, and the refusal names the present state, the wanted one and
what is possible instead."""


def domain_page() -> str:
    """The page; ends with a line end."""
    parts = [GENERATED_NOTE, "# The domain", INTRODUCTION, "```mermaid\n" + ENTITIES + "```"]
    for chapter in (*CHAPTERS, REQUEST_CHAPTER):
        parts += _chapter(chapter)
    parts += ["## Workflows", *map(_workflow, WORKFLOWS.values())]
    return "\n\n".join(parts) + "\n"


def state_diagram(table: MoveTable[Any]) -> str:
    """Mermaid: a state for each state of the table, an arrow for each of its moves."""
    lines = ["stateDiagram-v2", f"    [*] --> {table.initial}"]
    lines += [
        f"    {source} --> {move.target}: {move.action}"
        for move in table.moves
        for source in move.sources
    ]
    lines += [f"    {state} --> [*]" for state in _final_states(table)]
    return "\n".join(lines) + "\n"


ENTITIES = """\
erDiagram
    TEAM ||--o{ APPLICATION : owns
    APPLICATION ||--o| CODE_REPOSITORY : "is built from"
    APPLICATION ||--o| DEPLOYMENT_REPOSITORY : "is deployed from"
    APPLICATION ||--o| GITOPS_INTEGRATION : "is linked by"
    APPLICATION ||--o{ APPLICATION_ENVIRONMENT : "stands in"
    ENVIRONMENT ||--o{ APPLICATION_ENVIRONMENT : "is the place of"
    APPLICATION_ENVIRONMENT ||--|| REPOSITORY : "is described in"
    APPLICATION_ENVIRONMENT ||--o{ SECRET : has
    SECRET ||--|| SECRET_BINDING : "is bound by"
"""


def _chapter(chapter: Chapter) -> Iterator[str]:
    yield f"## {chapter.title}"
    yield chapter.text
    yield f"```mermaid\n{state_diagram(chapter.tables[0])}```"
    if chapter.rules:
        yield "\n".join(f"- {rule}" for rule in chapter.rules)


def _final_states(table: MoveTable[Any]) -> list[Any]:
    """States that a move leads to and none leads away from."""
    targets = dict.fromkeys(move.target for move in table.moves)
    return [state for state in targets if not table.moves_from(state)]


def _workflow(workflow: Workflow) -> str:
    minutes = workflow.deadline_seconds // 60
    lines = [
        f"### {workflow.name}",
        "",
        (
            f"Version {workflow.version}; each phase has {minutes} minutes. It ends with the event"
            f" `{workflow.completed_event}` or `{workflow.failed_event}`."
        ),
        "",
    ]
    for number, phase in enumerate(workflow.phases, start=1):
        steps = " → ".join(f"`{step}`" for step in phase.steps)
        lines.append(f"{number}. Job `{phase.job_name}`: {steps}")
        activities = ", ".join(f"`{step.activity}`" for step in phase.steps)
        lines.append(f"   (as activities: {activities})")
        if phase.wait_after is not None:
            alone = "keeps" if phase.wait_after.is_exclusive else "does not keep"
            lines.append(
                f"   Then it waits (`{phase.wait_after.reason}`) and {alone} its subjects to"
                " itself meanwhile."
            )
    return "\n".join(lines)
