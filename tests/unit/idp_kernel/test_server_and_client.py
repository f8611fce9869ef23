"""A server and a client of the kernel, talking to each other over a real socket."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from fastapi import Request
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from idp_kernel.errors import (
    InvalidInput,
    InvariantBroken,
    MoveRefused,
    NotFound,
    PlatformError,
    Unauthenticated,
    Unavailable,
)
from idp_kernel.http.client import ServiceClient
from idp_kernel.http.server import new_server
from idp_kernel.services import LOOPBACK, ServiceName
from idp_kernel.telemetry.traces import span
from idp_kernel.wire.api import CreateTeam, Team
from idp_kernel.wire.forge import MergeBranch

BODY = CreateTeam(slug="payments", display_name="Payments")


class _Standing:
    ready = True
    last_headers: dict[str, str] = {}


def _is_ready() -> None:
    if not _Standing.ready:
        raise Unavailable("The database is away.", retry_after_seconds=2)


def _app() -> uvicorn.Config:
    app = new_server(
        service=ServiceName.LOCAL_FORGE,
        env="test",
        registry=CollectorRegistry(),
        is_ready=_is_ready,
        description="A server for tests.",
        body_limit_bytes=1000,
    )

    @app.post("/echo")
    def echo(body: CreateTeam, request: Request) -> CreateTeam:
        _Standing.last_headers = dict(request.headers)
        return body

    @app.post("/teams/{team}")
    def refuse(team: str) -> None:
        if team == "bug":
            raise ZeroDivisionError
        raise MoveRefused("No.", current="Draft", wanted="Archived", allowed=["Active"])

    @app.get("/away")
    def away() -> None:
        raise Unavailable("Later.", retry_after_seconds=3)

    @app.get("/locked")
    def locked() -> None:
        raise Unauthenticated("Who are you?")

    return uvicorn.Config(app, host=LOOPBACK, port=0, log_config=None)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    server = uvicorn.Server(_app())
    started = threading.Event()
    startup = server.startup

    async def told_startup(sockets: object = None) -> None:
        await startup()
        started.set()

    server.startup = told_startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(10)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://{LOOPBACK}:{port}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def client(base_url: str) -> Iterator[ServiceClient]:
    client = ServiceClient(base_url, party="the test server", authorization=lambda: "t0ken")
    yield client
    client.close()


def test_a_message_goes_out_and_comes_back(client: ServiceClient) -> None:
    assert client.call("POST", "/echo", CreateTeam, body=BODY) == BODY
    assert _Standing.last_headers["authorization"] == "Bearer t0ken"


def test_the_current_trace_goes_along(client: ServiceClient) -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("outer") as current:
        client.call("POST", "/echo", CreateTeam, body=BODY)
        trace_id = format(current.get_span_context().trace_id, "032x")
    assert trace_id in _Standing.last_headers["traceparent"]
    with span("under a kept parent", traceparent=_Standing.last_headers["traceparent"]) as kept:
        assert format(kept.get_span_context().trace_id, "032x") == trace_id


def test_a_call_is_one_trace_on_both_sides(
    client: ServiceClient, spans: InMemorySpanExporter
) -> None:
    with span("somebody asks", kind=SpanKind.SERVER, attributes={"idp.team_id": "t"}) as asked:
        trace_id = asked.get_span_context().trace_id
        client.call("POST", "/echo", CreateTeam, body=BODY)
        with pytest.raises(MoveRefused):
            client.call("POST", "/teams/x", Team)

    def of_this_trace() -> list[ReadableSpan]:
        finished = spans.get_finished_spans()
        return [each for each in finished if each.context.trace_id == trace_id]

    # The server's span ends in its own thread, maybe after the caller has the answer.
    give_up_at = time.monotonic() + 10
    while len(of_this_trace()) < 5 and time.monotonic() < give_up_at:
        time.sleep(0.01)
    found = {each.name: each for each in of_this_trace()}
    (outer,) = (found["somebody asks"],)
    calls = [each for each in of_this_trace() if each.kind is SpanKind.CLIENT]
    served = [found["POST /echo"], found["POST /teams/{team}"]]
    for call, answer in zip(calls, served, strict=True):
        assert call.name == "POST the test server"
        assert call.parent == outer.context
        assert answer.parent is not None
        assert answer.parent.span_id == call.context.span_id
        assert answer.context.trace_id == outer.context.trace_id
        assert call.attributes is not None
        assert call.attributes["idp.team_id"] == "t"
    assert [call.attributes["http.response.status_code"] for call in calls] == [200, 409]  # type: ignore[index]
    assert not calls[0].status.description
    assert calls[1].status.description == "move_refused"


def test_polls_and_probes_leave_no_trace(
    client: ServiceClient, base_url: str, spans: InMemorySpanExporter
) -> None:
    client.call("POST", "/echo", CreateTeam, body=BODY)
    httpx.get(f"{base_url}/healthz")
    assert not int(_Standing.last_headers["traceparent"][-2:], 16) & 1, "it is to be left out"
    assert spans.get_finished_spans() == ()


def test_a_refusal_arrives_whole(client: ServiceClient) -> None:
    with pytest.raises(MoveRefused) as refused:
        client.call("POST", "/teams/x", Team)
    assert refused.value.details == {
        "current": "Draft",
        "wanted": "Archived",
        "allowed": ["Active"],
    }


def test_a_bug_is_a_problem_without_its_insides(base_url: str) -> None:
    with capture_logs() as lines:
        answer = httpx.post(f"{base_url}/teams/bug")
    assert answer.status_code == 500
    assert [line["log_level"] for line in lines if line.get("exc_info")] == ["error"]
    assert answer.json()["code"] == "invariant_broken"
    assert "ZeroDivision" not in answer.text
    assert answer.headers["X-Request-Id"] == answer.json()["requestId"]


@pytest.mark.parametrize(
    ("content", "code", "status"),
    [
        (b"{", "malformed_json", 400),
        (b'{"slug": 7, "displayName": "x"}', "invalid_input", 422),
        (b'{"slug": "ok", "displayName": "x", "more": 1}', "invalid_input", 422),
        (b'{"slug": "ok", "displayName": "a\\u0000b"}', "invalid_input", 422),
        (b'{"slug": "ok", "displayName": "a\\u009bb"}', "invalid_input", 422),
        (b'"' + b"x" * 5000 + b'"', "body_too_large", 413),
    ],
)
def test_bad_bodies_are_problems(base_url: str, content: bytes, code: str, status: int) -> None:
    answer = httpx.post(
        f"{base_url}/echo", content=content, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_body_without_a_length_is_limited_too(base_url: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    answer = httpx.post(f"{base_url}/echo", content=chunks())
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_unknown_routes_and_methods_are_problems(base_url: str) -> None:
    assert httpx.get(f"{base_url}/nowhere").json()["code"] == "no_such_route"
    assert httpx.get(f"{base_url}/echo").json()["code"] == "method_not_allowed"
    assert httpx.get(f"{base_url}/locked").headers["WWW-Authenticate"] == "Bearer"


def test_a_wait_is_told_in_the_header_too(base_url: str, client: ServiceClient) -> None:
    assert httpx.get(f"{base_url}/away").headers["Retry-After"] == "3"
    with pytest.raises(Unavailable) as away:
        client.send("GET", "/away")
    assert away.value.retry_after_seconds == 3


def test_readiness_follows_the_service(base_url: str) -> None:
    assert httpx.get(f"{base_url}/readyz").status_code == 200
    _Standing.ready = False
    try:
        assert httpx.get(f"{base_url}/readyz").status_code == 503
        assert httpx.get(f"{base_url}/healthz").status_code == 200
    finally:
        _Standing.ready = True


def test_metrics_count_by_template(base_url: str) -> None:
    httpx.post(f"{base_url}/teams/one")
    httpx.post(f"{base_url}/teams/two")
    httpx.get(f"{base_url}/no/such/path")
    text = httpx.get(f"{base_url}/metrics").text
    assert (
        'http_requests_total{env="test",method="POST",route="/teams/{team}",'
        'service="local-forge",status="409"}'
    ) in text
    assert 'route="unmatched"' in text
    assert "/teams/one" not in text


def test_methods_are_a_closed_set_too(base_url: str) -> None:
    for method in ("BREW", "GET", "PROPFIND"):
        httpx.request(method, f"{base_url}/teams/one")
    text = httpx.get(f"{base_url}/metrics").text
    assert 'method="OTHER"' in text
    assert "BREW" not in text
    assert "PROPFIND" not in text


def test_probes_are_not_counted(base_url: str) -> None:
    httpx.get(f"{base_url}/healthz")
    text = httpx.get(f"{base_url}/metrics").text
    assert "/healthz" not in text
    assert 'route="/metrics"' not in text


def test_requests_add_no_series(base_url: str) -> None:
    httpx.post(f"{base_url}/teams/one")
    httpx.get(f"{base_url}/nowhere/0")
    before = httpx.get(f"{base_url}/metrics").text.count("\n")
    with httpx.Client(base_url=base_url) as client:
        for number in range(100):
            client.post(f"/teams/team-{number}")
            client.get(f"/nowhere/{number}")
    assert httpx.get(f"{base_url}/metrics").text.count("\n") == before


def test_only_openmetrics_has_examples(base_url: str, spans: InMemorySpanExporter) -> None:
    httpx.post(f"{base_url}/teams/one")
    plain = httpx.get(f"{base_url}/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert "trace_id" not in plain.text
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    rich = httpx.get(f"{base_url}/metrics", headers={"Accept": accept})
    assert rich.headers["Content-Type"].startswith("application/openmetrics-text")
    assert rich.text.endswith("# EOF\n")
    (line, *_) = [
        each for each in rich.text.splitlines()
        if 'route="/teams/{team}"' in each and "# {trace_id=" in each
    ]  # fmt: skip
    assert re.search(r'# \{trace_id="[0-9a-f]{32}"\}', line)


def test_nobody_there_is_unavailable() -> None:
    seen: list[PlatformError] = []
    client = ServiceClient(f"http://{LOOPBACK}:1", party="nobody", on_error=seen.append)
    with pytest.raises(Unavailable) as away:
        client.send("GET", "/")
    assert away.value.code == "unreachable"
    assert seen == [away.value]


def test_an_answer_that_cannot_be_unpacked_is_no_answer() -> None:
    def garbled(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip")
        )

    client = ServiceClient(
        "http://garbled", party="garbled", transport=httpx.MockTransport(garbled)
    )
    with pytest.raises(Unavailable) as away:
        client.send("GET", "/")
    assert away.value.code == "unreachable"
    client.close()


def test_an_answer_of_another_form_is_a_broken_contract(client: ServiceClient) -> None:
    with pytest.raises(InvariantBroken) as broken:
        client.call("POST", "/echo", MergeBranch, body=BODY)
    assert broken.value.code == "contract_broken"


def test_a_missing_thing_raises_not_found(client: ServiceClient) -> None:
    with pytest.raises(NotFound):
        client.send("GET", "/nowhere")
    with pytest.raises(InvalidInput):
        client.send("GET", "/echo")
