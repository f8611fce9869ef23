"""What each call on a request's way costs the database. More statements than today need a reason;
fewer are written down here, so that they stay few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Engine, event

from idp_kernel.ids import new_id
from idp_kernel.wire.engine import CLAIM
from tests.integration.control_plane.conftest import Platform
from tests.integration.control_plane.engine_run import EngineRun

Answer = TypeVar("Answer")

STATEMENTS = {
    "register an application": 26,
    "provision an environment": 32,
    "the same command again": 5,
    "offers": 5,
    "claim": 15,
    "start of a step": 5,
    "end of a step": 8,
    "renewal of the lease": 2,
    "finalize": 26,
    "one request": 6,
    "page of requests": 3,
    "page of events": 3,
}
"""Statements of each call, transactions' beginnings and ends not among them."""


@contextmanager
def counting(engine: Engine | type[Engine], into: list[str]) -> Iterator[None]:
    """Every statement that is sent meanwhile."""

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        into.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", count)


def test_no_call_of_a_request_s_way_makes_more_statements_than_it_did(
    lone_platform: Platform,
) -> None:
    platform, found = lone_platform, dict[str, list[str]]()
    admin, engine = platform.admin, platform.engine_service
    subject = platform.new_subject()
    body = {"environment": subject.environment, "secrets": [{"name": "app-key"}]}
    path = f"/v1/applications/{subject.application_id}/environments"

    def counted(name: str, call: Callable[[], Answer]) -> Answer:
        with counting(platform.engine, found.setdefault(name, [])):
            return call()

    counted(
        "register an application",
        lambda: admin.ok("/v1/applications", {"team": subject.team, "slug": "another"}),
    )
    accepted = counted("provision an environment", lambda: admin.post(path, body, key="a-key"))
    again = counted("the same command again", lambda: admin.post(path, body, key="a-key"))
    assert (accepted.status_code, again.json()) == (202, accepted.json())
    request_id = accepted.json()["requestId"]

    offered = counted("offers", lambda: engine.ok("/internal/offers", {"waitSeconds": 0}))
    assert len(offered["offers"]) == 2
    claim = {"runId": new_id(), "attempt": 1}
    claim_path = CLAIM.format(request_id=request_id)
    run = EngineRun(platform, counted("claim", lambda: engine.ok(claim_path, claim)))
    first, *others = run.steps[:-1]
    counted("start of a step", lambda: run.start(first))
    counted("end of a step", lambda: run.end(first))
    assert counted("renewal of the lease", lambda: run.say("lease")).status_code == 200
    run.do_all(tuple(others))
    assert counted("finalize", run.finalize).json()["state"] == "succeeded"

    counted("one request", lambda: admin.seen(f"/v1/workflow-requests/{request_id}"))
    counted("page of requests", lambda: admin.seen("/v1/workflow-requests"))
    counted("page of events", lambda: admin.seen("/v1/events"))
    counted_now = {name: len(each) for name, each in found.items()}
    grown = {name: found[name] for name in found if counted_now[name] > STATEMENTS[name]}
    assert counted_now == STATEMENTS, grown
