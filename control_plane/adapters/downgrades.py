"""A downgrade is refused while rows are there that the older version could not bring to an end."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from idp_kernel.errors import Conflict

_OPEN: Final = "state IN ('pending', 'running', 'waiting')"
ROTATIONS: Final = {
    "requests for SecretRotation that have not ended": (
        f"workflow_requests WHERE workflow = 'SecretRotation' AND {_OPEN}"
    ),
    "secrets that are Rotating": "secrets WHERE state = 'Rotating'",
}
UNDOS: Final = {
    "requests for Compensation that have not ended": (
        f"workflow_requests WHERE workflow = 'Compensation' AND {_OPEN}"
    ),
}
ENDING_WORKFLOWS: Final = ("SecretRevocation", "ApplicationEnvironmentDecommissioning")
ENDINGS: Final = {
    f"requests for {workflow} that have not ended": (
        f"workflow_requests WHERE workflow = '{workflow}' AND {_OPEN}"
    )
    for workflow in ENDING_WORKFLOWS
}
APPLICATION_END: Final = "ApplicationDecommissioning"
APPLICATION_ENDS: Final = {
    f"requests for {APPLICATION_END} that have not ended": (
        f"workflow_requests WHERE workflow = '{APPLICATION_END}' AND {_OPEN}"
    ),
}
PROPOSALS: Final = {
    "applications that are Proposed, to be approved or rejected": (
        "applications WHERE state = 'Proposed'"
    ),
    "requests that need an approval and have not ended": (
        f"workflow_requests WHERE desired_state ->> 'needsApproval' = 'true' AND {_OPEN}"
    ),
}
_ADDS: Final = (
    "'true' IN (desired_state ->> 'addsSecrets', desired_state #>> '{undone,addsSecrets}')"
)
ADDITIONS: Final = {
    "requests that add secrets, or take added ones back, and have not ended": (
        f"workflow_requests WHERE {_ADDS} AND {_OPEN}"
    ),
}
ONBOARDINGS: Final = {
    "requests for ApplicationOnboarding that have not ended": (
        f"workflow_requests WHERE workflow = 'ApplicationOnboarding' AND {_OPEN}"
    ),
    "applications that are Onboarding": "applications WHERE state = 'Onboarding'",
}
OTHER_ISSUERS: Final = {
    "secrets of another issuer than openbao": "secrets WHERE issuer <> 'openbao'",
}


def forget_requests(connection: Connection, workflow: str) -> None:
    """Those of a workflow that the older version does not know, all ended by now. What they told
    stays in the events and the audit.
    """
    _forget(connection, "workflow = :workflow", {"workflow": workflow})


def forget_additions(connection: Connection) -> None:
    """Requests that added secrets, likewise: the older version would take an undo of one for that
    of the whole environment.
    """
    _forget(connection, _ADDS, {})


def forget_fields(connection: Connection, *names: str) -> None:
    """What the older version knows no field for in a desired state, and would not read."""
    statement = text(
        "UPDATE workflow_requests SET desired_state = desired_state #- CAST(:path AS text[])"
    )
    for name in names:
        for path in (f"{{{name}}}", f"{{undone,{name}}}"):
            connection.execute(statement, {"path": path})


def _forget(connection: Connection, which: str, values: dict[str, str]) -> None:
    of_it = f"SELECT id FROM workflow_requests WHERE {which}"  # noqa: S608 - the constants above
    for table in ("request_steps", "request_attempts", "workflow_subjects", "lost_runs"):
        statement = f"DELETE FROM {table} WHERE request_id IN ({of_it})"  # noqa: S608 - the tables above
        connection.execute(text(statement), values)
    connection.execute(text(f"DELETE FROM workflow_requests WHERE {which}"), values)  # noqa: S608 - as above


def refuse_while_there_are(connection: Connection, *kinds: dict[str, str]) -> None:
    """Raises `Conflict` (`downgrade_refused`), which counts what there is of each."""
    found = {
        name: connection.execute(text(f"SELECT count(*) FROM {rows}")).scalar_one()  # noqa: S608 - the constants above
        for kind in kinds
        for name, rows in kind.items()
    }
    if there := [f"{count} {name}" for name, count in found.items() if count]:
        raise Conflict(
            "The database cannot go back to the older version, which could not bring to an end what"
            f" is there: {', '.join(there)}. Drain the platform, let its requests end or cancel"
            " them, then downgrade.",
            code="downgrade_refused",
        )
