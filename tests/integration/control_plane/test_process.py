"""The process: what only real sockets, a real environment and real logs show."""

from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from control_plane.failpoints import COMMAND_AFTER_COMMIT
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.ids import new_id
from idp_kernel.services import LOOPBACK
from tests.fixtures.stack import FreshDatabase
from tests.integration.control_plane.conftest import ADMIN_TOKEN, Keys, Platform, eventually
from tests.integration.control_plane.engine_run import offers
from tests.integration.control_plane.held import arm
from tests.integration.control_plane.process import Process, is_ready, served

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


# ── ends ─────────────────────────────────────────────────────────────────────────────────────


def test_what_is_under_way_ends_before_the_process_does(
    migrated: FreshDatabase, keys: Keys, tmp_path: Path
) -> None:
    held = arm(tmp_path, COMMAND_AFTER_COMMIT)
    settings = {
        FAILPOINTS_DIR_VARIABLE: str(tmp_path),
        "IDP_CONTROL_PLANE_STOP_WITHIN_SECONDS": "60",
    }
    with served(migrated, keys, **settings) as server, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(make_team, server)
        held.wait()
        server.process.terminate()
        eventually(lambda: not is_ready(server))
        assert not under_way.done()
        assert server.process.poll() is None
        held.let_go()
        assert under_way.result().status_code == 201
        assert server.process.wait(10) == 0


def make_team(server: Process) -> httpx.Response:
    body = {"slug": f"t-{new_id()[-10:]}", "displayName": "A"}
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Idempotency-Key": new_id()}
    return httpx.post(f"{server.url}/v1/teams", json=body, headers=headers, timeout=30)


def test_a_body_that_does_not_come_is_given_up(migrated: FreshDatabase, keys: Keys) -> None:
    with (
        served(migrated, keys, IDP_CONTROL_PLANE_BODY_SECONDS="0.5") as server,
        socket.create_connection((LOOPBACK, server.port), timeout=10) as connection,
    ):
        head = (
            "POST /v1/teams HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {ADMIN_TOKEN}",
            f"Idempotency-Key: {new_id()}",
            "Content-Type: application/json",
            "Content-Length: 40",
        )
        connection.sendall("\r\n".join([*head, "", '{"slug": ']).encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        problem = json.loads(answer.read())
    assert (answer.status, problem["code"]) == (408, "body_too_slow")
