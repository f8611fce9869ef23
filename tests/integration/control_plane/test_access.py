"""Every route, every role, own and foreign team; routes are found, not listed.

A route that is new fails here until it says below who may use it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from control_plane.api.guards import ANY_PERSON, check_every_route_is_guarded, guarded_routes
from idp_kernel.errors import InvariantBroken
from idp_kernel.ids import new_id
from idp_kernel.services import SERVICE_SCOPES, Scope, ServiceName
from idp_kernel.wire import engine as wire
from tests.integration.control_plane.conftest import LONG_LEASES, Caller, Platform
from tests.integration.control_plane.documented import document
from tests.integration.control_plane.engine_run import claimed
from tests.integration.control_plane.rotations import secret_in_use


class Takes(Enum):
    """The least that a route takes."""

    ANYBODY = "anybody"
    PERSON = "person"
    VIEWER = "viewer"
    MAINTAINER = "maintainer"
    ADMIN = "admin"
    ADMIN_OF_TEAM = "admin, told to the team's members only"
    RUN = "run"


EXPECTED: dict[str, Takes | Scope] = {
    "POST /v1/teams": Takes.ADMIN,
    "GET /v1/teams": Takes.PERSON,
    "GET /v1/teams/{team}": Takes.VIEWER,
    "PUT /v1/teams/{team}": Takes.ADMIN_OF_TEAM,
    "POST /v1/teams/{team}/activate": Takes.ADMIN_OF_TEAM,
    "POST /v1/teams/{team}/suspend": Takes.ADMIN_OF_TEAM,
    "POST /v1/teams/{team}/resume": Takes.ADMIN_OF_TEAM,
    "POST /v1/teams/{team}/archive": Takes.ADMIN_OF_TEAM,
    "GET /v1/teams/{team}/policy": Takes.VIEWER,
    "PUT /v1/teams/{team}/policy": Takes.ADMIN_OF_TEAM,
    "GET /v1/teams/{team}/limits": Takes.VIEWER,
    "PUT /v1/teams/{team}/limits": Takes.ADMIN_OF_TEAM,
    "POST /v1/teams/{team}/members": Takes.MAINTAINER,
    "DELETE /v1/teams/{team}/members/{principal}": Takes.MAINTAINER,
    "GET /v1/teams/{team}/members": Takes.VIEWER,
    "POST /v1/tokens": Takes.ADMIN,
    "GET /v1/tokens": Takes.PERSON,
    "GET /v1/tokens/{token_id}": Takes.PERSON,
    "DELETE /v1/tokens/{token_id}": Takes.PERSON,
    "GET /v1/platform-admins": Takes.ADMIN,
    "DELETE /v1/platform-admins/{principal}": Takes.ADMIN,
    "GET /v1/whoami": Takes.PERSON,
    "POST /v1/environments": Takes.ADMIN,
    "GET /v1/environments": Takes.PERSON,
    "GET /v1/environments/{environment}": Takes.PERSON,
    "PUT /v1/environments/{environment}": Takes.ADMIN,
    "POST /v1/environments/{environment}/activate": Takes.ADMIN,
    "POST /v1/environments/{environment}/freeze": Takes.ADMIN,
    "POST /v1/environments/{environment}/unfreeze": Takes.ADMIN,
    "POST /v1/environments/{environment}/retire": Takes.ADMIN,
    "POST /v1/applications": Takes.MAINTAINER,
    "GET /v1/applications": Takes.PERSON,
    "GET /v1/applications/{application_id}": Takes.VIEWER,
    "PUT /v1/applications/{application_id}": Takes.MAINTAINER,
    "POST /v1/applications/{application_id}/onboarding": Takes.MAINTAINER,
    "POST /v1/applications/{application_id}/approve": Takes.MAINTAINER,
    "POST /v1/applications/{application_id}/reject": Takes.MAINTAINER,
    "POST /v1/applications/{application_id}/deprecate": Takes.MAINTAINER,
    "POST /v1/applications/{application_id}/decommission": Takes.MAINTAINER,
    "GET /v1/applications/{application_id}/repositories": Takes.VIEWER,
    "GET /v1/repositories/{repository_id}": Takes.VIEWER,
    "GET /v1/applications/{application_id}/gitops-integrations": Takes.VIEWER,
    "GET /v1/gitops-integrations/{integration_id}": Takes.VIEWER,
    "POST /v1/applications/{application_id}/environments": Takes.MAINTAINER,
    "GET /v1/applications/{application_id}/environments": Takes.VIEWER,
    "GET /v1/application-environments": Takes.PERSON,
    "GET /v1/application-environments/{application_environment_id}": Takes.VIEWER,
    "POST /v1/application-environments/{application_environment_id}/freeze": Takes.MAINTAINER,
    "POST /v1/application-environments/{application_environment_id}/unfreeze": Takes.MAINTAINER,
    "POST /v1/application-environments/{application_environment_id}/secrets": Takes.MAINTAINER,
    "POST /v1/application-environments/{application_environment_id}/decommission": Takes.MAINTAINER,
    "GET /v1/secrets": Takes.PERSON,
    "GET /v1/secrets/{secret_id}": Takes.VIEWER,
    "GET /v1/secrets/{secret_id}/bindings": Takes.VIEWER,
    "GET /v1/secret-bindings/{binding_id}": Takes.VIEWER,
    "POST /v1/secret-bindings/{binding_id}/suspend": Takes.MAINTAINER,
    "POST /v1/secret-bindings/{binding_id}/resume": Takes.MAINTAINER,
    "PUT /v1/secrets/{secret_id}/rotation-policy": Takes.MAINTAINER,
    "POST /v1/secrets/{secret_id}/rotation": Takes.MAINTAINER,
    "POST /v1/secrets/{secret_id}/compromised": Takes.MAINTAINER,
    "POST /v1/secrets/{secret_id}/revoke": Takes.MAINTAINER,
    "POST /v1/secrets/{secret_id}/archive": Takes.MAINTAINER,
    "POST /v1/secrets/{secret_id}/suspend": Takes.MAINTAINER,
    "POST /v1/secrets/{secret_id}/resume": Takes.MAINTAINER,
    "POST /v1/secrets/{secret_id}/login": Takes.VIEWER,
    "GET /v1/workflow-requests": Takes.PERSON,
    "GET /v1/workflow-requests/{request_id}": Takes.VIEWER,
    "GET /v1/workflow-requests/{request_id}/watch": Takes.VIEWER,
    "POST /v1/workflow-requests/{request_id}/cancel": Takes.MAINTAINER,
    "POST /v1/workflow-requests/{request_id}/retry": Takes.MAINTAINER,
    "GET /v1/workflow-requests/{request_id}/undo": Takes.VIEWER,
    "POST /v1/workflow-requests/{request_id}/undo": Takes.MAINTAINER,
    "GET /v1/events": Takes.PERSON,
    "GET /v1/events/stream": Takes.PERSON,
    "GET /v1/platform": Takes.PERSON,
    "POST /v1/platform/drain": Takes.ADMIN,
    "POST /v1/platform/resume": Takes.ADMIN,
    f"GET {wire.JWKS}": Takes.ANYBODY,
    f"POST {wire.TOKENS}": Takes.ANYBODY,
    f"POST {wire.TOKEN_INTROSPECTION}": Scope.TOKEN_INTROSPECTION,
    f"POST {wire.OFFERS}": Scope.OFFERS,
    f"POST {wire.LAUNCHES}": Scope.CLAIMS,
    f"POST {wire.CLAIM}": Scope.CLAIMS,
    f"POST {wire.LEASE}": Takes.RUN,
    f"POST {wire.STEP_START}": Takes.RUN,
    f"POST {wire.STEP_OUTCOME}": Takes.RUN,
    f"POST {wire.WAIT}": Takes.RUN,
    f"POST {wire.AWAIT_APPROVAL}": Takes.RUN,
    f"POST {wire.DECLARE_ENVIRONMENTS}": Takes.RUN,
    f"POST {wire.END_PHASE}": Takes.RUN,
    f"POST {wire.FINALIZE}": Takes.RUN,
    f"POST {wire.RUN_REPORTS}": Scope.REPORTS,
    f"GET {wire.RUN_STATUS}": Scope.REPORTS,
    f"GET {wire.LOST_RUNS}": Scope.REPORTS,
    f"POST {wire.DUE_ROTATIONS}": Scope.ROTATIONS,
    f"GET {wire.ROTATION_CAUSES}": Scope.ROTATIONS,
    f"POST {wire.ROTATIONS}": Scope.ROTATIONS,
    f"GET {wire.ASSET_APPLICATION_ENVIRONMENTS}": Scope.ASSETS,
    f"GET {wire.ASSET_SECRETS}": Scope.ASSETS,
    f"POST {wire.CHECK_RESULTS}": Scope.REPORTS,
    f"GET {wire.METRICS_PROJECTION}": Scope.METRICS_PROJECTION,
}


@dataclass(frozen=True)
class World:
    """Two teams with everything in them, and everybody who might call."""

    platform: Platform
    paths: dict[str, str]
    """Path parameter to a value of the own team."""
    callers: dict[str, Caller]
    team: str
    cause_id: str
    """Of an event that asks for a rotation."""


@pytest.fixture
def leases() -> dict[str, float]:
    return LONG_LEASES


@pytest.fixture
def world(platform: Platform) -> World:
    subject, foreign = platform.new_subject(), platform.new_subject()
    request_id = platform.provision(subject)
    run = claimed(platform, request_id)
    foreign_run = claimed(platform, platform.provision(foreign))
    (secret,) = platform.environment_of(request_id)["secrets"]
    of_application = f"/v1/applications/{subject.application_id}"
    repository = platform.admin.seen(f"{of_application}/repositories")["items"][0]
    (integration,) = platform.admin.seen(f"{of_application}/gitops-integrations")["items"]
    used = secret_in_use(platform)
    platform.admin.ok(f"/v1/secrets/{used.id}/compromised", {"reason": "seen"})
    cause_id = platform.admin.seen("/v1/events", subject=f"secret/{used.id}")["items"][-1]["id"]
    callers = {
        "anonymous": Caller(platform.client, ""),
        "forged": Caller(platform.client, "eyJhbGciOiJub25lIn0.e30."),
        "admin": platform.admin,
        "maintainer": platform.member(subject.team, "team-maintainer"),
        "viewer": platform.member(subject.team, "team-viewer"),
        "foreign maintainer": platform.member(foreign.team, "team-maintainer"),
        "foreign viewer": platform.member(foreign.team, "team-viewer"),
        "teamless": Caller(platform.client, platform.token_for("teamless-person")),
        "run": run.caller,
        "foreign run": foreign_run.caller,
        **{str(name): platform.service(name) for name in SERVICE_SCOPES},
    }
    paths = {
        "team": subject.team,
        "environment": subject.environment,
        "application_id": subject.application_id,
        "application_environment_id": run.claim["applicationEnvironmentId"],
        "secret_id": secret["id"],
        "binding_id": secret["bindingId"],
        "request_id": request_id,
        "token_id": new_id(),
        "principal": "somebody",
        "repository_id": repository["id"],
        "integration_id": integration["id"],
        "run_id": run.run_id,
        "step": "materialize_repositories",
    }
    return World(platform, paths, callers, subject.team, cause_id)


def routes(app: FastAPI) -> dict[str, APIRoute]:
    return {
        f"{method} {route.path}": route
        for route in guarded_routes(app.routes)
        for method in route.methods or ()
    }


def allowed(takes: Takes | Scope) -> set[str]:
    """Who passes."""
    people = ["admin", "maintainer", "viewer"]
    outsiders = {"foreign maintainer", "foreign viewer", "teamless"}
    if isinstance(takes, Scope):
        return {name for name, scopes in SERVICE_SCOPES.items() if takes in scopes}
    by_rule: dict[Takes, set[str]] = {
        Takes.PERSON: {*people, *outsiders},
        Takes.VIEWER: set(people),
        Takes.MAINTAINER: {"admin", "maintainer"},
        Takes.ADMIN: {"admin"},
        Takes.ADMIN_OF_TEAM: {"admin"},
        Takes.RUN: {"run"},
    }
    return by_rule[takes]


def refusal(takes: Takes | Scope, caller: str) -> int:
    """How everybody else is refused."""
    persons = {"admin", "maintainer", "viewer", "foreign maintainer", "foreign viewer", "teamless"}
    outsiders = {"foreign maintainer", "foreign viewer", "teamless"}
    if isinstance(takes, Scope):
        return 403 if caller in set(SERVICE_SCOPES) else 401
    if takes is Takes.RUN:
        return 403 if caller == "foreign run" else 401
    if caller not in persons:
        return 401
    if caller in outsiders and takes in (Takes.VIEWER, Takes.MAINTAINER, Takes.ADMIN_OF_TEAM):
        return 404
    return 403


def body_of(route: APIRoute, world: World) -> Any:
    """A body that passes the route's model, so that only access can refuse."""
    valid: dict[str, Any] = {
        "/v1/applications": {"team": world.team, "slug": f"a-{new_id()[-8:]}"},
        "/v1/teams": {"slug": f"t-{new_id()[-8:]}", "displayName": "x"},
        "/v1/environments": {"slug": f"e-{new_id()[-8:]}"},
        "/v1/tokens": {"principal": "somebody"},
        "/v1/teams/{team}": {"displayName": "x"},
        "/v1/environments/{environment}": {"description": "x"},
        "/v1/applications/{application_id}": {"description": "x"},
        "/v1/teams/{team}/limits": {},
        "/v1/teams/{team}/policy": {"applicationApproval": "none"},
        "/v1/teams/{team}/members": {"principal": "somebody", "role": "team-viewer"},
        "/v1/applications/{application_id}/environments": {
            "environment": world.paths["environment"]
        },
        "/v1/secrets/{secret_id}/rotation-policy": {},
        "/v1/applications/{application_id}/reject": {"reason": "seen"},
        "/v1/secrets/{secret_id}/compromised": {"reason": "seen"},
        wire.DUE_ROTATIONS: {"scheduledAt": "2026-01-01T00:00:00Z"},
        wire.ROTATIONS: {"eventId": world.cause_id},
        wire.CHECK_RESULTS: {
            "check": "gitops_reconciled",
            "readAt": "2026-01-01T00:00:00Z",
            "findings": [],
        },
        wire.OFFERS: {"waitSeconds": 0, "limit": 1},
        wire.TOKEN_INTROSPECTION: {"token": "x"},
        wire.LAUNCHES: {
            "runId": "r",
            "workflow": "ApplicationEnvironmentProvisioning",
            "subjectId": world.paths["application_environment_id"],
            "reason": "try",
        },
        wire.CLAIM: {"runId": "r", "attempt": 9},
        wire.LEASE: {"runId": world.paths["run_id"]},
        wire.STEP_START: {"runId": "r", "attempt": 9, "retryNumber": 0},
        wire.STEP_OUTCOME: {"runId": "r", "attempt": 9, "retryNumber": 0},
        wire.WAIT: {"runId": "r", "attempt": 9, "reason": "circuit_open", "waitSeconds": 1},
        wire.AWAIT_APPROVAL: {"runId": "r", "attempt": 9},
        wire.DECLARE_ENVIRONMENTS: {"runId": "r", "attempt": 9},
        wire.END_PHASE: {"runId": "r", "attempt": 9, "outcomes": {}},
        wire.FINALIZE: {"runId": "r", "attempt": 9, "outcomes": {}},
        wire.RUN_REPORTS: {
            "requestId": world.paths["request_id"],
            "runId": "stranger",
            "attempt": 9,
            "ending": "failed",
        },
    }
    return valid.get(route.path)


def call(route: APIRoute, world: World, caller: Caller, method: str) -> Any:
    path = route.path.format(**world.paths)
    if method == "GET":
        return caller.get(path)
    if method == "DELETE":
        return caller.delete(path)
    if method == "PUT":
        return caller.put(path, body_of(route, world))
    return caller.post(path, body_of(route, world))


def test_every_route_is_expected(platform: Platform) -> None:
    assert set(routes(platform.app)) == set(EXPECTED)


@pytest.mark.timeout(600)
def test_every_route_lets_in_whom_it_should_and_nobody_else(world: World) -> None:
    wrong = []
    found = routes(world.platform.app)
    for name, route in found.items():
        takes, method = EXPECTED[name], name.split()[0]
        if takes is Takes.ANYBODY:
            continue
        # Those who are refused come first: nothing they do may change what the others find.
        for who in sorted(world.callers, key=lambda each: each in allowed(takes)):
            answer = call(route, world, world.callers[who], method)
            passed = answer.status_code not in (401, 403, 500) and not (
                answer.status_code == 404 and "token_id" not in route.path
            )
            if who in allowed(takes) and not passed:
                wrong.append(f"{name} refused {who}: {answer.text}")
            if who not in allowed(takes) and answer.status_code != refusal(takes, who):
                wrong.append(f"{name} answered {answer.status_code} to {who}")
    assert wrong == []


# ── text that no column holds ────────────────────────────────────────────────────────────────

NUL, HALF_A_CHARACTER = "\x00", "\ud800"
ODD_IN_ADDRESSES = ("%00", "a%00b", "%ED%A0%80")
"""The last is half a character in UTF-8, which no text in UTF-8 has."""
TAKES_ODD_TEXT = {
    f"POST {wire.TOKEN_INTROSPECTION}",
    f"POST {wire.STEP_OUTCOME}",
    f"POST {wire.END_PHASE}",
    f"POST {wire.FINALIZE}",
    f"POST {wire.RUN_REPORTS}",
    f"POST {wire.CHECK_RESULTS}",
}
"""No such token is held by anybody; what the others say comes from providers and is kept without
what no column holds.
"""


def insider(name: str, world: World) -> Caller:
    """One who is let in to that route."""
    takes = EXPECTED[name]
    return world.callers["admin" if takes is Takes.ANYBODY else min(allowed(takes))]


def asked(name: str, world: World, path: str, body: Any = None) -> Any:
    """The answer; the body is sent as ASCII, which can say what UTF-8 cannot."""
    headers = {
        "Authorization": f"Bearer {insider(name, world).token}",
        "Content-Type": "application/json",
        "Idempotency-Key": new_id(),
    }
    content = None if body is None else json.dumps(body)
    return world.platform.client.request(
        name.split(maxsplit=1)[0], path, content=content, headers=headers
    )


def is_refused(answer: Any) -> bool:
    """By a problem that tells the caller."""
    return 400 <= answer.status_code < 500 and bool(answer.json()["code"])


def test_odd_text_in_a_path_names_nothing(world: World) -> None:
    wrong = []
    for name, route in routes(world.platform.app).items():
        for parameter in route.dependant.path_params:
            for odd in ODD_IN_ADDRESSES:
                path = route.path.format(**{**world.paths, parameter.name: odd})
                answer = asked(name, world, path, body_of(route, world))
                if not is_refused(answer):
                    wrong.append(f"{name}, {parameter.name} {odd}: {answer.text}")
    assert wrong == []


def test_odd_text_in_a_query_is_refused(world: World) -> None:
    wrong, looked_at = [], set()
    for name, route in routes(world.platform.app).items():
        for parameter in get_flat_params(route.dependant):
            if not isinstance(parameter.field_info, Query):
                continue
            looked_at.add(parameter.alias)
            for odd in ODD_IN_ADDRESSES[:2]:
                path = f"{route.path.format(**world.paths)}?{parameter.alias}={odd}"
                answer = asked(name, world, path)
                if not is_refused(answer):
                    wrong.append(f"{name}, {parameter.alias} {odd}: {answer.text}")
    assert wrong == []
    assert {"requestedBy", "namePrefix", "principal", "subject", "cursor"} <= looked_at


def test_odd_text_in_a_body_is_refused_or_left_out(world: World) -> None:
    wrong = []
    for name, route in routes(world.platform.app).items():
        good = full_body_of(name, route, world)
        if good is None:
            continue
        for odd in (NUL, f"a{HALF_A_CHARACTER}"):
            for where, body in with_each_text_as(odd, good):
                answer = asked(name, world, route.path.format(**world.paths), body)
                if not is_refused(answer) and not (answer.is_success and name in TAKES_ODD_TEXT):
                    wrong.append(f"{name}, {where} {odd!r}: {answer.status_code} {answer.text}")
    assert wrong == []


def full_body_of(name: str, route: APIRoute, world: World) -> Any:
    """A body with every text that the route takes."""
    method, path = name.split()
    operation = document()["paths"][path][method.lower()]
    if "requestBody" not in operation:
        return None
    example = operation["requestBody"]["content"]["application/json"].get("example", {})
    text = {
        wire.TOKENS: {"assertion": "x"},
        wire.STEP_OUTCOME: {
            **holding(world),
            "retryNumber": 0,
            "error": {"code": "x", "message": "x", "retryable": True},
            "result": RESULT,
        },
        wire.END_PHASE: {**holding(world), "outcomes": {"validate_desired_state": RESULT}},
        wire.FINALIZE: {**holding(world), "outcomes": {"materialize_repositories": RESULT}},
        wire.RUN_REPORTS: {**holding(world), "message": "x"},
        wire.CHECK_RESULTS: {
            "findings": [
                {
                    "id": world.paths["application_environment_id"],
                    "passed": False,
                    "expected": "x",
                    "found": "x",
                }
            ],
        },
    }
    return {**example, **(body_of(route, world) or {}), **text.get(path, {})}


RESULT: dict[str, Any] = {
    "items": [{"item": "repository/x", "effect": "created", "references": {"url": "x"}}],
    "downstreamErrors": [{"target": "x", "code": "x", "status": "x"}],
}


def holding(world: World) -> dict[str, Any]:
    """What the run of the world says it holds."""
    return {"runId": world.paths["run_id"], "attempt": 1}


def with_each_text_as(odd: str, body: Any) -> Iterator[tuple[str, Any]]:
    """The body, again and again, each time with another of its texts as the odd one."""
    if isinstance(body, str):
        yield "", odd
    elif isinstance(body, dict):
        for key, value in body.items():
            yield (
                f".{key} as a key",
                {**{each: body[each] for each in body if each != key}, odd: value},
            )
            for where, changed in with_each_text_as(odd, value):
                yield f".{key}{where}", {**body, key: changed}
    elif isinstance(body, list):
        for number, value in enumerate(body):
            for where, changed in with_each_text_as(odd, value):
                yield f"[{number}]{where}", [*body[:number], changed, *body[number + 1 :]]


def test_a_foreign_thing_is_told_exactly_like_none(world: World) -> None:
    stranger = world.callers["foreign maintainer"]
    for path in (
        "/v1/applications/{}",
        "/v1/workflow-requests/{}",
        "/v1/application-environments/{}",
        "/v1/secrets/{}",
        "/v1/secret-bindings/{}",
        "/v1/repositories/{}",
        "/v1/gitops-integrations/{}",
    ):
        mine = {
            "/v1/applications/{}": "application_id",
            "/v1/workflow-requests/{}": "request_id",
            "/v1/application-environments/{}": "application_environment_id",
            "/v1/secrets/{}": "secret_id",
            "/v1/secret-bindings/{}": "binding_id",
            "/v1/repositories/{}": "repository_id",
            "/v1/gitops-integrations/{}": "integration_id",
        }[path]
        foreign, none = world.paths[mine], new_id()
        answers = [stranger.get(path.format(id_)).json() for id_ in (foreign, none)]
        for answer, id_ in zip(answers, (foreign, none), strict=True):
            answer["detail"] = answer["detail"].replace(id_, "")
            del answer["requestId"]
        assert answers[0] == answers[1]


def test_lists_show_the_own_teams_only(world: World) -> None:
    for path in ("/v1/applications", "/v1/secrets", "/v1/workflow-requests", "/v1/events"):
        for who in ("maintainer", "viewer"):
            teams = {each["team"] for each in world.callers[who].seen(path, limit=200)["items"]}
            assert teams == {world.team}, path
        foreign = world.callers["foreign viewer"].seen(path, team=world.team)["items"]
        assert foreign == [], path
        assert world.callers["teamless"].seen(path)["items"] == []
    assert [each["slug"] for each in world.callers["viewer"].seen("/v1/teams")["items"]] == [
        world.team
    ]
    assert world.callers["viewer"].seen("/v1/whoami")["teams"] == {world.team: "team-viewer"}


def test_maintainers_work_in_their_own_team_only(world: World) -> None:
    body = {"team": world.team, "slug": "by-maintainer"}
    assert world.callers["foreign maintainer"].post("/v1/applications", body).status_code == 404
    assert world.callers["viewer"].post("/v1/applications", body).status_code == 403
    assert world.callers["maintainer"].post("/v1/applications", body).status_code == 202


def test_an_application_with_an_unguarded_route_does_not_start() -> None:
    app, router = FastAPI(), APIRouter()

    @router.get("/v1/leak")
    def leak() -> str:
        return "secret"

    app.include_router(router)
    with pytest.raises(InvariantBroken, match="/v1/leak"):
        check_every_route_is_guarded(app.routes)


def test_a_guard_that_is_only_nested_does_not_count() -> None:
    app = FastAPI()

    def wrapped(caller: Annotated[object, Depends(ANY_PERSON)]) -> object:
        return caller

    @app.get("/v1/odd")
    def odd(_caller: Annotated[object, Depends(wrapped)]) -> str:
        return "x"

    with pytest.raises(InvariantBroken, match="/v1/odd"):
        check_every_route_is_guarded(app.routes)


def test_introspection_says_who_holds_a_token(world: World) -> None:
    forge = world.callers[ServiceName.LOCAL_FORGE]
    asked = forge.ok(wire.TOKEN_INTROSPECTION, {"token": world.callers["viewer"].token})
    assert asked["active"] is True
    assert asked["teams"] == {world.team: "team-viewer"}
    assert asked["platformAdmin"] is False
    assert forge.ok(wire.TOKEN_INTROSPECTION, {"token": "idp_pat_no"}) == {
        "active": False, "principal": None, "platformAdmin": False, "teams": {},
    }  # fmt: skip


def test_the_description_of_the_api_is_complete(platform: Platform) -> None:
    document = platform.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    described = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert described == set(EXPECTED)
    for name, takes in EXPECTED.items():
        method, path = name.split()
        operation = document["paths"][path][method.lower()]
        assert ("security" in operation) == (takes is not Takes.ANYBODY), name
        keys = [
            each["required"]
            for each in operation.get("parameters", ())
            if each["name"] == "Idempotency-Key"
        ]
        needs_key = method == "POST" and path.startswith("/v1/")
        assert keys == ([True] if needs_key else []), name
