"""The process: what only real sockets, a real environment and real logs show."""

from __future__ import annotations

import http.client
import json

import httpx

from idp_kernel.ids import new_id
from idp_kernel.services import LOOPBACK
from tests.fixtures.stack import FreshDatabase
from tests.integration.control_plane.conftest import ADMIN_TOKEN, Keys, Platform
from tests.integration.control_plane.engine_run import offers
from tests.integration.control_plane.process import served

RAW_PATHS = [
    "/v1/teams/../../etc/passwd",
    "/v1/teams/..%2f..%2fetc",
    "/v1/teams/%00",
    "/v1/applications/%F0%9F%98%80",
    "/v1/applications/" + "x" * 300,
    "/v1/workflow-requests/-leading",
    "//v1//teams",
    "/v1/teams/%zz",
    "/v1/environments/%c3%28",
]


def test_raw_paths_are_problems_and_the_log_holds_no_token(
    migrated: FreshDatabase, keys: Keys
) -> None:
    with served(migrated, keys) as server:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Connection": "close"}
        for path in RAW_PATHS:
            connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=10)
            connection.putrequest("GET", path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            assert (path, answer.status) == (path, 404)
            assert json.loads(answer.read())["code"] in ("not_found", "no_such_route")
            connection.close()
        made = httpx.post(
            f"{server.url}/v1/tokens",
            json={"principal": "process-test"},
            headers={**headers, "Idempotency-Key": new_id()},
        ).json()
        metrics = httpx.get(f"{server.url}/metrics").text
        log = server.log.read_text()
    assert made["token"] not in log
    assert ADMIN_TOKEN not in log
    assert 'route="/v1/teams/{team}"' in metrics
    assert "passwd" not in metrics
    assert made["token"] not in metrics


def test_a_command_keeps_the_callers_trace(platform: Platform) -> None:
    subject = platform.new_subject()
    trace_id = new_id().replace("-", "")
    accepted = platform.client.post(
        f"/v1/applications/{subject.application_id}/environments",
        json={"environment": subject.environment},
        headers={
            "Authorization": f"Bearer {ADMIN_TOKEN}",
            "Idempotency-Key": new_id(),
            "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01",
        },
    ).json()
    offer = offers(platform)[accepted["requestId"]]
    assert offer["traceparent"].split("-")[1] == trace_id
