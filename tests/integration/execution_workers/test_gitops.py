"""Verification against the real agent: what it says of our commit, and when it is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from idp_kernel.wire.worker import APPENV_GITOPS_VERIFY
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    PROTECTION,
    REPOSITORY,
    SECRET,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import Json, Run, eventually


@pytest.fixture
def revision(run: Run) -> str:
    """The commit with the bindings, after all steps before it in their order."""
    for effect in (REPOSITORY, PROTECTION, SECRET):
        assert_effect(effect.do(run), "created")
    answer = assert_effect(BINDINGS.do(run), "created")
    return str(answer["items"][0]["references"]["revision"])


def look(run: Run, revision: str, **changes: Any) -> httpx.Response:
    body = {
        "subject": run.appenv.subject,
        "repository": run.appenv.repository,
        "revision": revision,
        "bindings": [run.appenv.binding()],
        **changes,
    }
    return run.post(APPENV_GITOPS_VERIFY, body, run.key(Step.VERIFY_GITOPS_RECONCILIATION))


def seen(run: Run, revision: str, state: str, **changes: Any) -> Json:
    """The first verdict with this state."""

    def verdict() -> Json | None:
        answer = look(run, revision, **changes)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found if found["state"] == state else None

    return eventually(verdict, what=f"agent calls {revision} {state}")


def test_our_commit_is_applied_and_healthy(run: Run, revision: str) -> None:
    verdict = seen(run, revision, "reconciled")
    assert verdict["observedRevision"] == revision
    assert verdict["events"] == ["gitops_reconciliation_verified"]
    ready = next(each for each in verdict["conditions"] if each["type"] == "Ready")
    assert ready["status"] == "True"


def test_a_commit_that_follows_ours_counts_too(run: Run, revision: str, tmp_path: Path) -> None:
    namespace = run.appenv.team, run.appenv.repository_name, tmp_path
    later = run.world.forge.push_file(*namespace, "docs/notes.md", "Nothing to apply.\n")
    assert seen(run, revision, "reconciled")["observedRevision"] in (revision, later)


def test_manifests_the_agent_refuses_are_told(run: Run, revision: str, tmp_path: Path) -> None:
    seen(run, revision, "reconciled")
    broken = run.world.forge.push_file(
        run.appenv.team,
        run.appenv.repository_name,
        tmp_path,
        "manifests/broken.yaml",
        "apiVersion: v1\nkind: NoSuchKind\nmetadata: {name: broken}\n",
    )
    verdict = seen(run, revision, "degraded")
    assert verdict["observedRevision"] == broken
    assert "NoSuchKind" in verdict["message"]
    assert verdict["events"] == []


def test_another_version_than_the_bound_one_is_not_enough(run: Run, revision: str) -> None:
    seen(run, revision, "reconciled")
    verdict = look(run, revision, bindings=[run.appenv.binding(version=2)]).json()
    assert verdict["state"] == "progressing"
    assert "app-key at version 2" in verdict["message"]


def test_a_revision_nobody_pushed_is_not_seen(run: Run, revision: str) -> None:
    verdict = look(run, "0" * 40).json()
    assert (verdict["state"], verdict["events"]) == ("progressing", [])


def test_a_repository_the_agent_does_not_know(run: Run) -> None:
    verdict = look(run, "0" * 40).json()
    assert (verdict["state"], verdict["observedRevision"]) == ("progressing", None)


def test_an_older_run_may_not_even_look(run: Run) -> None:
    assert run.with_(fence=2).raise_fence().status_code == 200
    assert_problem(look(run, "0" * 40), 409, "fenced_off")
