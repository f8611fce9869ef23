"""Plans of PostgreSQL with many rows: every index is there for a question that is asked, and no
question reads a large table from end to end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event, text

from control_plane.adapters.database import transaction
from control_plane.adapters.tables import METADATA
from idp_kernel.services import ServiceName
from idp_kernel.wire.engine import METRICS_PROJECTION, ROTATION_CAUSES
from tests.integration.control_plane.conftest import Platform
from tests.integration.control_plane.engine_run import claimed
from tests.integration.control_plane.rotations import (
    rotating,
    rotation_of,
    secret_in_use,
    seen,
)
from tests.integration.control_plane.rows import multiply
from tests.integration.control_plane.test_due_rotations import tick

MANY = 20_000
OF_ITS_OWN = {
    "workflow_requests": {"id": "gen_random_uuid()"},
    "workflow_subjects": {"subject_id": "gen_random_uuid()", "active": "false"},
    "outbox_events": {"id": "gen_random_uuid()"},
    "secrets": {"id": "gen_random_uuid()", "name": "name || '-' || n"},
}
"""What each copy of a row has of its own, by table."""
BELONGS = {
    "workflow_requests": "id",
    "workflow_subjects": "request_id",
    "outbox_events": "request_id",
}
"""The column that says of which request a row is."""


@dataclass
class Plans:
    """What the statements of a while would read, and how."""

    statements: dict[str, Any] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Indexes."""
    read_through: dict[str, set[str]] = field(default_factory=dict)
    """Statements by the table that they read from end to end."""

    def explain(self, engine: Engine) -> None:
        with engine.connect() as connection:
            for statement, parameters in self.statements.items():
                asked = f"EXPLAIN (FORMAT JSON) {statement}"
                found = connection.exec_driver_sql(asked, parameters).scalar_one()
                self._note(statement, found[0]["Plan"])

    def _note(self, statement: str, node: dict[str, Any]) -> None:
        if "Index Name" in node:
            self.used.add(node["Index Name"])
        elif node["Node Type"] == "Seq Scan":
            self.read_through.setdefault(node["Relation Name"], set()).add(statement)
        for each in node.get("Plans", ()):
            self._note(statement, each)


@contextmanager
def planned(engine: Engine) -> Iterator[Plans]:
    """The plans of all that is asked inside, known at the end."""
    plans = Plans()

    def note(_connection: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
        if statement.split(maxsplit=1)[0] in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"):
            plans.statements[statement] = given[0] if isinstance(given, list) else given

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        event.remove(engine, "before_cursor_execute", note)
    plans.explain(engine)


def test_every_index_is_used_and_no_large_table_is_read_through(lone_platform: Platform) -> None:
    platform = lone_platform
    few, many = secret_in_use(platform), secret_in_use(platform)
    of_many = {"applicationEnvironmentId": many.environment_id}
    (ended,) = platform.admin.seen("/v1/workflow-requests", **of_many)["items"]
    _multiply(platform, ended["id"])
    maintainer = platform.member(few.subject.team, "team-maintainer")
    with planned(platform.engine) as plans:
        _ask_for_everything(platform, few.subject.application_id, few.environment_id, few.id)
        request_id = rotation_of(platform, few)
        run = rotating(platform, request_id)
        run.do_all()
        for path in ("/v1/workflow-requests", "/v1/events", f"/v1/workflow-requests/{request_id}"):
            maintainer.seen(path)
        platform.admin.seen("/v1/events", requestId=request_id)
        assert seen(platform, few)["state"] == "Rotating"
        platform.sweep_after(1)
        tick(platform)
        platform.service(ServiceName.METRICS_EXPORTER).seen(METRICS_PROJECTION)
        platform.engine_service.seen(ROTATION_CAUSES)
        claimed(platform, platform.provision(platform.new_subject()))
        platform.engine_service.ok("/internal/offers", {"waitSeconds": 0})
    large = {table for table in OF_ITS_OWN if table in plans.read_through}
    assert large == set(), {table: plans.read_through[table] for table in large}
    ours = {str(each.name) for table in OF_ITS_OWN for each in METADATA.tables[table].indexes}
    assert ours - plans.used == set()


def _ask_for_everything(
    platform: Platform, application_id: str, environment_id: str, secret_id: str
) -> None:
    asked = {
        "applicationId": application_id,
        "applicationEnvironmentId": environment_id,
        "secretId": secret_id,
    }
    for name, value in asked.items():
        platform.admin.seen("/v1/workflow-requests", **{name: value})
    platform.admin.seen(f"/v1/application-environments/{environment_id}")
    platform.admin.seen("/v1/secrets")
    for request in platform.admin.seen("/v1/workflow-requests", secretId=secret_id)["items"]:
        platform.admin.seen(f"/v1/workflow-requests/{request['id']}/undo")


def _multiply(platform: Platform, request_id: str) -> None:
    with transaction(platform.engine) as connection:
        for table, changed in OF_ITS_OWN.items():
            where = f"{BELONGS[table]} = '{request_id}'" if table in BELONGS else "true"
            multiply(connection, table, MANY, where, changed)
        # All rows are looked at then; of a sample, now and then another plan follows.
        connection.execute(text("SET LOCAL default_statistics_target = 1000"))
        connection.execute(text("ANALYZE"))
