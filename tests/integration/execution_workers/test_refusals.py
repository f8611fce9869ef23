"""Bad input and bad credentials: a problem with a code on every route, and nothing done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from execution_workers.main import create_app
from execution_workers.settings import ExecutionWorkersSettings
from idp_kernel.http.server import OPEN_PATHS
from idp_kernel.ids import new_id
from idp_kernel.tokens import SigningKey
from idp_kernel.wire.worker import (
    APPENV_GITOPS_VERIFY,
    FENCES,
    GIT_REPOSITORIES_VALIDATE,
    GIT_REPOSITORIES_VERIFY_ARCHIVED,
    SECRETS_CONSUMERS,
    SECRETS_VALIDATE,
    SECRETS_VERIFY,
    SECRETS_VERIFY_ENDED,
    UNDO_VERIFY,
)
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import CHECKS, EFFECTS, SECRET, assert_problem
from tests.integration.execution_workers.driver import AppEnv, Json, Run

NO_DATABASE = "postgresql+psycopg://ledger@127.0.0.1:1/idp"


def _verification(appenv: AppEnv) -> Json:
    return {
        "subject": appenv.subject,
        "repository": appenv.repository,
        "revision": "0" * 40,
        "bindings": [],
    }


def _repositories(appenv: AppEnv) -> Json:
    return {"subject": appenv.application_subject, "repositories": [appenv.code_repository]}


def _observation(appenv: AppEnv) -> Json:
    return appenv.rotated(version=2, replacesVersion=1, revisions={})


def _archived(appenv: AppEnv) -> Json:
    return {"subject": appenv.subject, "repositories": [appenv.repository]}


def _undone(appenv: AppEnv) -> Json:
    return {"subject": appenv.subject, "repositories": [appenv.repository], "secrets": []}


BODIES: dict[str, tuple[Step, Callable[[AppEnv], Json]]] = {
    **{effect.path: (effect.step, effect.body) for effect in EFFECTS},
    APPENV_GITOPS_VERIFY: (Step.VERIFY_GITOPS_RECONCILIATION, _verification),
    GIT_REPOSITORIES_VALIDATE: (Step.VALIDATE_APPLICATION, _repositories),
    GIT_REPOSITORIES_VERIFY_ARCHIVED: (Step.VERIFY_NOTHING_RECONCILED, _archived),
    SECRETS_VALIDATE: (Step.VALIDATE_ROTATION, lambda appenv: appenv.rotated()),
    SECRETS_VERIFY: (Step.VERIFY_NEW_CREDENTIAL, lambda appenv: appenv.rotated(version=2)),
    SECRETS_CONSUMERS: (Step.CONFIRM_CONSUMERS, _observation),
    SECRETS_VERIFY_ENDED: (Step.VERIFY_SECRETS_ENDED, lambda appenv: appenv.rotated()),
    UNDO_VERIFY: (Step.VERIFY_NOTHING_LEFT, _undone),
}


def _paths() -> list[str]:
    """Every route of the service, found in the service."""
    nowhere = Path("/nonexistent")
    settings = ExecutionWorkersSettings(
        database_url=NO_DATABASE,
        installation_id="routes",
        forge_token_file=nowhere,
        openbao_approle_file=nowhere,
        gitops_agent_token_file=nowhere,
    )
    app = create_app(settings)
    return sorted(app.openapi()["paths"])


ALL_PATHS = _paths()
PATHS = [path for path in ALL_PATHS if not path.startswith("/checks/")]
"""What runs call; `test_checks` has the rest."""
STEP_PATHS = [path for path in PATHS if path != FENCES]
every_path = pytest.mark.parametrize("path", PATHS)
every_step_path = pytest.mark.parametrize("path", STEP_PATHS)


def body_of(path: str, appenv: AppEnv) -> Json:
    if path == FENCES:
        return {}
    found: Json = BODIES[path.removesuffix("/undo")][1](appenv)
    return found


def key_of(path: str, run: Run) -> str | None:
    if path == FENCES:
        return None
    return run.key(BODIES[path.removesuffix("/undo")][0], undo=path.endswith("/undo"))


def send(
    path: str, run: Run, body: Any = None, *, key: str | None = None, token: str | None = None
) -> httpx.Response:
    return run.post(
        path,
        body_of(path, run.appenv) if body is None else body,
        key_of(path, run) if key is None else key,
        token=token,
    )


def test_every_route_is_walked_here() -> None:
    undone = {f"{effect.path}/undo" for effect in EFFECTS if effect.has_undo}
    assert set(ALL_PATHS) == set(BODIES) | undone | {FENCES} | set(CHECKS)
    assert not set(ALL_PATHS) & set(OPEN_PATHS)


@every_path
def test_without_a_token(path: str, run: Run) -> None:
    answer = httpx.post(
        f"{run.world.workers.url}{path}", json=body_of(path, run.appenv), trust_env=False
    )
    assert_problem(answer, 401, "token_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@every_path
@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "é"])
def test_with_a_token_that_is_none(path: str, token: str, run: Run) -> None:
    headers = {b"Authorization": f"Bearer {token}".encode(), b"Idempotency-Key": b"x"}
    answer = httpx.post(
        f"{run.world.workers.url}{path}",
        json=body_of(path, run.appenv),
        headers=headers,
        trust_env=False,
    )
    assert_problem(answer, 401, "token_invalid")


@every_path
def test_with_a_token_somebody_else_signed(path: str, run: Run) -> None:
    stranger = SigningKey.generate("control-plane")
    forged = run.with_(world=_signed_by(run, stranger)).token
    assert_problem(send(path, run, token=forged), 401, "token_invalid")


def _signed_by(run: Run, key: SigningKey) -> Any:

    return replace(run.world, key=key)


@every_path
def test_with_an_expired_token(path: str, run: Run) -> None:
    expired = run.with_(lifetime=timedelta(seconds=1), age=timedelta(minutes=1)).token
    assert_problem(send(path, run, token=expired), 401, "token_expired")


@every_step_path
def test_for_a_foreign_team(path: str, run: Run) -> None:
    assert_problem(send(path, run, body_of(path, AppEnv())), 403, "foreign_team")


@pytest.mark.parametrize("path", [path for path in STEP_PATHS if "secrets" not in path])
def test_for_a_foreign_teams_repository(path: str, run: Run) -> None:
    body = body_of(path, run.appenv)
    foreign = {**run.appenv.repository, "owner": "team-other"}
    body |= {"repository": foreign} if "repository" in body else {"repositories": [foreign]}
    assert_problem(send(path, run, body), 403, "foreign_team")


ROTATION_PATHS = [path for path in STEP_PATHS if path.startswith("/secrets/")]


@pytest.mark.parametrize("path", ROTATION_PATHS)
def test_for_a_foreign_teams_secret_or_binding(path: str, run: Run) -> None:
    body = body_of(path, run.appenv)
    (target,) = body["bindings"]
    foreign_subject = {**run.appenv.subject, "team": "team-other"}
    foreign_repository = {**run.appenv.repository, "owner": "team-other"}
    for changes in (
        {"storePath": "teams/team-other/appenv/x/app-key"},
        {"storePath": f"teams/{run.appenv.team}/../team-other/app-key"},
        {"bindings": [{**target, "subject": foreign_subject}]},
        {"bindings": [{**target, "repository": foreign_repository}]},
    ):
        assert_problem(send(path, run, {**body, **changes}), 403, "foreign_team")


@every_step_path
def test_without_an_idempotency_key(path: str, run: Run) -> None:
    answer = run.post(path, body_of(path, run.appenv), None)
    assert_problem(answer, 422, "idempotency_key_missing")


@every_step_path
def test_with_a_key_that_belongs_elsewhere(path: str, run: Run) -> None:
    own = key_of(path, run) or ""
    keys = (
        own.replace(run.request_id, new_id()),
        own.replace("/1/", "/2/"),
        own.removesuffix("/undo") if own.endswith("/undo") else f"{own}/undo",
        f"{own}x",
        "../../etc",
        "x" * 300,
    )
    for key in keys:
        assert_problem(send(path, run, key=key), 422, "idempotency_key_mismatch")


@every_path
def test_with_an_unknown_field(path: str, run: Run) -> None:
    body = {**body_of(path, run.appenv), "surprise": 1}
    assert_problem(send(path, run, body), 422, "invalid_input")


@every_step_path
def test_with_wrong_types(path: str, run: Run) -> None:
    subjects: tuple[Any, ...] = (None, 7, [], "x", {"team": 7})
    bodies: tuple[Any, ...] = ([], "x", 7, True)
    good = body_of(path, run.appenv)
    for body in (*bodies, *({**good, "subject": subject} for subject in subjects)):
        assert_problem(send(path, run, body), 422, "invalid_input")


@every_step_path
@pytest.mark.parametrize(
    "team", ["../x", "%00", "x\x00y", "🙂🙂", "x" * 300, "-x", "X", "", "a--b"]
)
def test_with_a_name_that_is_none(path: str, team: str, run: Run) -> None:
    body = body_of(path, run.appenv)
    body["subject"] = {**body["subject"], "team": team}
    assert_problem(send(path, run, body), 422, "invalid_input")


@pytest.mark.parametrize("branch", ["", "-x", "--upload-pack=x", "a b", "x" * 300, "é"])
def test_with_a_branch_git_cannot_have(branch: str, run: Run) -> None:
    path = EFFECTS[0].path
    repository = {**run.appenv.repository, "defaultBranch": branch}
    body = {"subject": run.appenv.subject, "repositories": [repository]}
    assert_problem(send(path, run, body), 422, "invalid_input")


@every_path
def test_with_a_body_of_a_mebibyte(path: str, run: Run) -> None:
    assert_problem(send(path, run, {"subject": "x" * 2**20}), 413, "body_too_large")


@every_path
def test_with_what_is_not_json(path: str, run: Run) -> None:
    headers = {
        "Authorization": f"Bearer {run.token}",
        "Idempotency-Key": key_of(path, run) or "",
        "Content-Type": "application/json",
    }
    answer = httpx.post(
        f"{run.world.workers.url}{path}", content=b"{", headers=headers, trust_env=False
    )
    assert_problem(answer, 400, "malformed_json")


@pytest.fixture(scope="module", autouse=True)
def nothing_is_a_server_error(world: Any) -> Iterator[None]:
    """After all that, the service has not once met something unexpected."""
    yield
    assert 'status="500"' not in world.metrics()
    assert "unexpected_error" not in world.workers.log.read_text()


def test_refused_calls_leave_no_effect(run: Run, tmp_path: Path) -> None:
    assert_problem(send(SECRET.path, run, key="x"), 422, "idempotency_key_mismatch")
    assert SECRET.times_done(run.world, run.appenv, tmp_path) == 0


def test_metrics_name_routes_and_no_ids(run: Run) -> None:
    send(SECRET.path, run)
    metrics = run.world.metrics()
    assert 'route="/appenv/secrets",service="execution-workers",status="200"' in metrics
    assert run.request_id not in metrics
    assert 'execution_workers_effects_total{effect="created",step="provision_secrets"}' in metrics
