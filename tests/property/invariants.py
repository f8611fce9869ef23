"""What must hold in the database, whatever was asked of the API, in SQL that shares nothing with
the code.

Some hold at any time (`AT_ANY_TIME`), others from one moment to the next (`Snapshot`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

AT_ANY_TIME: dict[str, str] = {
    "an application is in an environment once": """
        SELECT application_id, environment_id FROM application_environments
        GROUP BY application_id, environment_id HAVING count(*) > 1
    """,
    "a binding that is active needs a secret that is in use": """
        SELECT b.id, s.state FROM secret_bindings b JOIN secrets s ON s.id = b.secret_id
        WHERE b.state = 'Active' AND s.state NOT IN ('Active', 'Rotating')
    """,
    "a binding pins the version in use": """
        SELECT b.id, b.version, s.version FROM secret_bindings b
        JOIN secrets s ON s.id = b.secret_id
        WHERE b.version IS DISTINCT FROM s.version
    """,
    "one request is at work on a thing": """
        SELECT u.kind, u.subject_id FROM workflow_subjects u
        JOIN workflow_requests r ON r.id = u.request_id
        WHERE r.state IN ('pending', 'running')
           OR (r.state = 'waiting' AND r.waiting_reason <> 'rotation_grace')
        GROUP BY u.kind, u.subject_id HAVING count(*) > 1
    """,
    "what is marked as held is held": """
        SELECT r.id, r.state, u.active FROM workflow_subjects u
        JOIN workflow_requests r ON r.id = u.request_id
        WHERE u.active <> (r.state IN ('pending', 'running')
           OR (r.state = 'waiting' AND r.waiting_reason <> 'rotation_grace'))
    """,
    "no secret rotates while its environment is provisioned": """
        SELECT rotation.id FROM workflow_requests rotation
        JOIN workflow_requests provisioning
          ON provisioning.application_environment_id = rotation.application_environment_id
        WHERE rotation.workflow = 'SecretRotation' AND rotation.state IN ('pending', 'running')
          AND provisioning.workflow IN
            ('ApplicationEnvironmentProvisioning', 'ApplicationEnvironmentDecommissioning')
          AND provisioning.state IN ('pending', 'running')
          AND NOT (rotation.phase = 2
            AND COALESCE((provisioning.desired_state -> 'addsSecrets')::boolean, false))
    """,
    "a secret is being provisioned by a request": """
        SELECT s.id, s.state FROM secrets s WHERE (s.state = 'Provisioning') <> EXISTS (
            SELECT 1 FROM workflow_requests r JOIN workflow_subjects u ON u.request_id = r.id
            WHERE u.kind = 'secret' AND u.subject_id = s.id
            AND r.workflow = 'ApplicationEnvironmentProvisioning'
            AND r.state IN ('pending', 'running', 'waiting'))
    """,
    "an environment that gets secrets stays in use": """
        SELECT e.id, e.state, r.id FROM workflow_requests r
        JOIN application_environments e ON e.id = r.application_environment_id
        WHERE r.workflow = 'ApplicationEnvironmentProvisioning'
          AND (r.desired_state -> 'addsSecrets')::boolean
          AND r.state IN ('pending', 'running', 'waiting') AND e.state NOT IN ('Active', 'Frozen')
    """,
    "a secret in use is not undone": """
        SELECT s.id, s.state, last.id FROM secrets s CROSS JOIN LATERAL (
            SELECT r.id FROM workflow_requests r JOIN workflow_subjects u ON u.request_id = r.id
            WHERE u.kind = 'secret' AND u.subject_id = s.id
            AND r.workflow = 'ApplicationEnvironmentProvisioning' AND r.state = 'succeeded'
            ORDER BY r.ended_at DESC, r.id DESC LIMIT 1) last
        WHERE s.state IN ('Active', 'Rotating', 'Suspended') AND EXISTS (
            SELECT 1 FROM workflow_requests u WHERE u.undoes = last.id AND u.state = 'succeeded'
            AND NOT EXISTS (
                SELECT 1 FROM request_steps t, jsonb_array_elements(t.result -> 'items') item
                WHERE t.request_id = u.id AND t.step = 'undo_effects'
                  AND item ->> 'item' = 'secret/' || s.id AND item ->> 'effect' = 'kept'))
    """,
    "no secret is in use in an environment that is not": """
        SELECT e.id, s.id, s.state FROM application_environments e
        JOIN secrets s ON s.application_environment_id = e.id
        WHERE e.state IN ('Declared', 'Provisioning')
          AND s.state IN ('Active', 'Rotating', 'Suspended')
    """,
    "an application is being onboarded by a request": """
        SELECT a.id, a.state FROM applications a
        WHERE a.state <> 'Proposed' AND (a.state = 'Onboarding') <> EXISTS (
            SELECT 1 FROM workflow_requests r WHERE r.application_id = a.id
            AND r.workflow = 'ApplicationOnboarding'
            AND r.state IN ('pending', 'running', 'waiting')
            AND NOT (a.state = 'Archived' AND r.cancel_requested))
    """,
    "nothing waits for an approval that was given": """
        SELECT r.id, a.state FROM workflow_requests r JOIN applications a ON a.id = r.application_id
        WHERE r.state = 'waiting' AND r.waiting_reason = 'approval_pending'
          AND a.state <> 'Proposed'
    """,
    "nothing is made before an approval": """
        SELECT a.id, c.state, e.id, s.step FROM applications a
        LEFT JOIN application_repositories c ON c.application_id = a.id
        LEFT JOIN application_environments e ON e.application_id = a.id
        LEFT JOIN workflow_requests r ON r.application_id = a.id
        LEFT JOIN request_steps s ON s.request_id = r.id AND s.state = 'succeeded'
        WHERE a.state = 'Proposed'
          AND (c.state <> 'Declared' OR e.id IS NOT NULL OR s.step IS NOT NULL)
    """,
    "an environment is being provisioned by a request": """
        SELECT e.id, e.state FROM application_environments e
        WHERE (e.state = 'Provisioning') <> EXISTS (
            SELECT 1 FROM workflow_requests r WHERE r.application_environment_id = e.id
            AND r.workflow = 'ApplicationEnvironmentProvisioning'
            AND NOT COALESCE((r.desired_state -> 'addsSecrets')::boolean, false)
            AND r.state IN ('pending', 'running', 'waiting'))
    """,
    "a secret is being rotated by a request": """
        SELECT s.id, s.state FROM secrets s WHERE (s.state = 'Rotating') <> EXISTS (
            SELECT 1 FROM workflow_requests r WHERE r.secret_id = s.id
            AND r.workflow = 'SecretRotation' AND r.state IN ('pending', 'running', 'waiting'))
    """,
    "a secret that is about to end is suspended": """
        SELECT s.id, s.state FROM secrets s JOIN workflow_requests r ON r.secret_id = s.id
        WHERE r.workflow = 'SecretRevocation' AND r.state IN ('pending', 'running', 'waiting')
          AND s.state <> 'Suspended'
    """,
    "a secret ends with its binding": """
        SELECT s.id, s.state, b.state FROM secrets s JOIN secret_bindings b ON b.secret_id = s.id
        WHERE (s.state IN ('Revoked', 'Archived')) <> (b.state = 'Revoked')
    """,
    "an environment goes out of use by a request": """
        SELECT e.id, e.state FROM application_environments e
        WHERE e.state = 'Decommissioning' AND NOT EXISTS (
            SELECT 1 FROM workflow_requests r WHERE r.application_environment_id = e.id
            AND r.workflow IN ('Compensation', 'ApplicationEnvironmentDecommissioning')
            AND r.state IN ('pending', 'running', 'waiting'))
    """,
    "nothing of a retired environment is in use": """
        SELECT e.id, s.id, s.state FROM application_environments e
        JOIN secrets s ON s.application_environment_id = e.id
        WHERE e.state = 'Retired' AND s.state NOT IN ('Revoked', 'Archived', 'Declared')
    """,
    "an environment ends with all that a run gave it": """
        SELECT e.id, s.id, s.state FROM application_environments e
        JOIN secrets s ON s.application_environment_id = e.id
        JOIN workflow_subjects u ON u.kind = 'secret' AND u.subject_id = s.id
        JOIN workflow_requests given ON given.id = u.request_id
        JOIN workflow_requests ended ON ended.application_environment_id = e.id
        WHERE e.state = 'Retired' AND s.state NOT IN ('Revoked', 'Archived')
          AND given.workflow = 'ApplicationEnvironmentProvisioning' AND given.fence > 0
          AND ended.workflow = 'ApplicationEnvironmentDecommissioning'
          AND ended.state = 'succeeded' AND NOT EXISTS (
            SELECT 1 FROM jsonb_array_elements(ended.desired_state -> 'secrets') wanted
            WHERE wanted -> 'secret' ->> 'secretId' = s.id::text)
    """,
    "an application goes out of use by a request": """
        SELECT a.id, a.state FROM applications a
        WHERE a.state = 'Decommissioning' AND NOT EXISTS (
            SELECT 1 FROM workflow_requests r WHERE r.application_id = a.id
            AND r.workflow IN ('Compensation', 'ApplicationDecommissioning')
            AND r.state IN ('pending', 'running', 'waiting'))
    """,
    "an application ends with all it has": """
        SELECT a.id, e.state, c.state, i.state FROM applications a
        LEFT JOIN application_environments e ON e.application_id = a.id
        LEFT JOIN application_repositories c ON c.application_id = a.id
        LEFT JOIN gitops_integrations i ON i.application_id = a.id
        WHERE a.state = 'Archived'
          AND (e.state <> 'Retired' OR c.state <> 'Archived' OR i.state <> 'Removed')
    """,
    "nothing of an application that is gone is in use": """
        SELECT e.id, e.state, a.state FROM application_environments e
        JOIN applications a ON a.id = e.application_id
        WHERE e.state IN ('Active', 'Frozen')
          AND a.state IN ('Proposed', 'Approved', 'Onboarding', 'Decommissioning', 'Archived')
    """,
    "a secret without a value has no version": """
        SELECT s.id, s.version FROM secrets s WHERE s.state = 'Declared' AND s.version IS NOT NULL
    """,
    "a request is undone once, unless something was kept": """
        SELECT earlier.undoes, earlier.id, later.id FROM workflow_requests earlier
        JOIN workflow_requests later ON later.undoes = earlier.undoes
        WHERE earlier.state = 'succeeded' AND later.state = 'succeeded'
          AND (earlier.ended_at, earlier.id) < (later.ended_at, later.id)
          AND NOT EXISTS (
            SELECT 1 FROM request_steps s, jsonb_array_elements(s.result -> 'items') item
            WHERE s.request_id = earlier.id AND s.step = 'undo_effects'
              AND item ->> 'effect' = 'kept')
    """,
    "an environment in use is not undone": """
        SELECT e.id, last.id FROM application_environments e CROSS JOIN LATERAL (
            SELECT r.id FROM workflow_requests r WHERE r.application_environment_id = e.id
            AND r.workflow = 'ApplicationEnvironmentProvisioning' AND r.state = 'succeeded'
            AND NOT COALESCE((r.desired_state -> 'addsSecrets')::boolean, false)
            ORDER BY r.ended_at DESC, r.id DESC LIMIT 1) last
        WHERE e.state IN ('Active', 'Frozen') AND EXISTS (
            SELECT 1 FROM workflow_requests u WHERE u.undoes = last.id AND u.state = 'succeeded')
    """,
    "an application in use is not undone": """
        SELECT a.id, last.id FROM applications a CROSS JOIN LATERAL (
            SELECT r.id FROM workflow_requests r WHERE r.application_id = a.id
            AND r.workflow = 'ApplicationOnboarding' AND r.state = 'succeeded'
            ORDER BY r.ended_at DESC, r.id DESC LIMIT 1) last
        WHERE a.state IN ('Active', 'Deprecated') AND EXISTS (
            SELECT 1 FROM workflow_requests u WHERE u.undoes = last.id AND u.state = 'succeeded')
    """,
    "what was undone does not go on": """
        SELECT u.id, r.id, r.state FROM workflow_requests u
        JOIN workflow_requests r ON r.id = u.undoes
        WHERE (u.state IN ('pending', 'running', 'waiting', 'succeeded'))
          AND r.state IN ('pending', 'running', 'waiting')
    """,
    "an ended request has told its end": """
        SELECT r.id, r.state FROM workflow_requests r
        WHERE (r.state IN ('succeeded', 'failed', 'cancelled', 'timed_out')) AND NOT EXISTS (
            SELECT 1 FROM outbox_events e WHERE e.request_id = r.id
            AND e.subject = 'workflow_request/' || r.id
            AND e.type LIKE 'workflow_%' || CASE WHEN r.state = 'succeeded'
                THEN '_completed' ELSE '_failed' END)
    """,
    "success is told once": """
        SELECT request_id FROM outbox_events
        WHERE type LIKE 'workflow_%_completed' GROUP BY request_id HAVING count(*) > 1
    """,
    "every claim has a fence of its own": """
        SELECT request_id, fence FROM request_attempts
        GROUP BY request_id, fence HAVING count(*) > 1
    """,
    "the projection counts what was told": """
        SELECT c.label, c.value FROM projection_counters c
        WHERE c.metric = 'domain_events_total'
          AND c.value <> (SELECT count(*) FROM outbox_events e WHERE e.type = c.label)
    """,
}
"""What is wrong, as a query for it: each must find nothing."""

MOVES: dict[str, set[tuple[str, str]]] = {
    "teams": {
        ("Draft", "Active"), ("Active", "Suspended"), ("Suspended", "Active"),
        ("Suspended", "Archived"),
    },
    "environments": {
        ("Planned", "Active"), ("Active", "Frozen"), ("Frozen", "Active"), ("Frozen", "Retired"),
    },
    "applications": {
        ("Proposed", "Approved"), ("Proposed", "Onboarding"), ("Proposed", "Archived"),
        ("Approved", "Onboarding"), ("Onboarding", "Approved"), ("Onboarding", "Active"),
        ("Active", "Deprecated"), ("Active", "Decommissioning"), ("Decommissioning", "Active"),
        ("Decommissioning", "Approved"), ("Deprecated", "Decommissioning"),
        ("Decommissioning", "Deprecated"), ("Decommissioning", "Archived"),
    },
    "application_environments": {
        ("Declared", "Provisioning"), ("Provisioning", "Declared"), ("Provisioning", "Active"),
        ("Active", "Frozen"), ("Frozen", "Active"), ("Active", "Decommissioning"),
        ("Decommissioning", "Active"), ("Decommissioning", "Declared"),
        ("Frozen", "Decommissioning"), ("Decommissioning", "Frozen"),
        ("Decommissioning", "Retired"), ("Declared", "Retired"),
    },
    "secrets": {
        ("Declared", "Provisioning"), ("Provisioning", "Declared"), ("Provisioning", "Active"),
        ("Active", "Rotating"), ("Rotating", "Active"), ("Active", "Suspended"),
        ("Suspended", "Active"), ("Active", "Declared"), ("Suspended", "Declared"),
        ("Suspended", "Revoked"), ("Revoked", "Archived"),
    },
    "secret_bindings": {
        ("Declared", "Provisioning"), ("Provisioning", "Declared"), ("Provisioning", "Active"),
        ("Active", "Suspended"), ("Suspended", "Active"), ("Active", "Declared"),
        ("Suspended", "Declared"), ("Suspended", "Revoked"),
    },
}  # fmt: skip
"""From one command to the next; a revoked secret, among others, never comes back."""

_REQUESTS = """
    SELECT r.id, r.state, r.workflow, r.fence, t.state AS team, e.state AS environment
    FROM workflow_requests r JOIN teams t ON t.id = r.team_id
    LEFT JOIN application_environments a ON a.id = r.application_environment_id
    LEFT JOIN environments e ON e.id = a.environment_id
"""
_USE = """
    SELECT t.id, l.max_applications, l.max_application_environments, l.max_active_requests,
      (SELECT count(*) FROM applications a WHERE a.team_id = t.id
        AND a.state <> 'Archived') AS applications,
      (SELECT count(*) FROM application_environments e JOIN applications a
        ON a.id = e.application_id WHERE a.team_id = t.id AND e.state <> 'Retired')
        AS application_environments,
      (SELECT count(*) FROM workflow_requests r WHERE r.team_id = t.id AND (r.state = 'running'
        OR (r.state = 'pending' AND r.offers > 0))
        AND NOT coalesce((r.desired_state->>'emergency')::boolean, false)) AS active_requests
    FROM teams t LEFT JOIN team_limits l ON l.team_id = t.id
"""
"""An emergency begins beyond any limit."""


def broken_now(connection: Connection) -> list[str]:
    """Every invariant of any time that does not hold, with what breaks it."""
    broken = []
    for name, query in AT_ANY_TIME.items():
        if found := connection.execute(text(query)).fetchmany(3):
            broken.append(f"{name}: {[tuple(row) for row in found]}")
    return broken


@dataclass
class Snapshot:
    """The database at one moment, as far as the next must follow from it."""

    states: dict[str, dict[str, str]] = field(default_factory=dict)
    teams: dict[str, str] = field(default_factory=dict)
    """Application to team."""
    requests: dict[str, Any] = field(default_factory=dict)
    use: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def take(cls, connection: Connection) -> Snapshot:
        def states(table: str) -> dict[str, str]:
            rows = connection.execute(text(f"SELECT id::text, state FROM {table}"))  # noqa: S608 - the tables above
            return {row.id: row.state for row in rows}

        owners = connection.execute(text("SELECT id::text, team_id::text FROM applications"))
        return cls(
            states={table: states(table) for table in MOVES},
            teams={row.id: row.team_id for row in owners},
            requests={str(row.id): row for row in connection.execute(text(_REQUESTS))},
            use={str(row.id): row for row in connection.execute(text(_USE))},
        )

    def broken_since(self, before: Snapshot) -> list[str]:
        """What cannot follow from that earlier moment by one command."""
        return [
            *self._illegal_moves(before),
            *self._changed_teams(before),
            *self._started_against_the_rules(before),
            *self._passed_limits(before),
        ]

    def _illegal_moves(self, before: Snapshot) -> list[str]:
        return [
            f"{table} {id_} went from {old} to {self.states[table].get(id_)}"
            for table, known in before.states.items()
            for id_, old in known.items()
            if (new := self.states[table].get(id_)) != old and (old, new) not in MOVES[table]
        ]

    def _changed_teams(self, before: Snapshot) -> list[str]:
        return [
            f"application {id_} went to another team"
            for id_, team in before.teams.items()
            if self.teams.get(id_) != team
        ]

    def _started_against_the_rules(self, before: Snapshot) -> list[str]:
        broken = []
        for id_, now in self.requests.items():
            then = before.requests.get(id_)
            is_asked = then is None or (then.state not in _OPEN and now.state in _OPEN)
            if is_asked and now.team != "Active":
                broken.append(f"request {id_} was asked for by a team that is {now.team}")
            is_begun = now.workflow == "ApplicationEnvironmentProvisioning" and (
                is_asked or (then is not None and now.fence > then.fence and now.state == "running")
            )
            if is_begun and now.environment != "Active":
                broken.append(f"request {id_} provisions an environment that is {now.environment}")
        return broken

    def _passed_limits(self, before: Snapshot) -> list[str]:
        broken = []
        for id_, now in self.use.items():
            for name in ("applications", "application_environments", "active_requests"):
                limit, used = getattr(now, f"max_{name}"), getattr(now, name)
                then = before.use.get(id_)
                had = 0 if then is None else getattr(then, name)
                if limit is not None and used > max(limit, had):
                    broken.append(f"team {id_} has {used} {name} where {limit} are allowed")
        return broken


_OPEN = ("pending", "running", "waiting")
