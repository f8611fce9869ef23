"""Argo CD: each state of an application, several applications, and each fault of each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from execution_workers.gitops import GitOpsVerification, ready_condition
from idp_kernel.clock import SystemClock
from idp_kernel.wire.worker import GitOpsState
from tests.fixtures.vendors.argocd import TOKEN, ArgoCdServer
from tests.fixtures.vendors.stand_in import Fault
from tests.integration.execution_workers.behaviour.faults import IS_TOLD_AS, assert_told
from tests.integration.execution_workers.behaviour.test_gitops_agent import (
    FORGE,
    AtArgoCd,
    Subject,
    argo_cd,
    secret_of,
    subject,
    told,
    verdict,
)

__all__ = ["subject"]
OURS, LATER = "a" * 40, "b" * 40


@pytest.fixture
def place(tmp_path: Path) -> Iterator[AtArgoCd]:
    with ArgoCdServer() as server, closing(argo_cd(server.url, tmp_path, TOKEN)) as agent:
        yield AtArgoCd(server, tmp_path, agent)


@pytest.fixture
def name(place: AtArgoCd, subject: Subject) -> str:
    """An application that has applied our commit."""
    place.server.add("shop-dev", f"{FORGE}/{'/'.join(subject.place)}")
    place.server.says("shop-dev", OURS)
    place.server.brings("shop-dev", secret_of(subject, 1))
    return "shop-dev"


def test_the_unhealthy_resource_is_named(place: AtArgoCd, subject: Subject, name: str) -> None:
    place.server.says(name, OURS, health="Degraded")
    place.server.nodes[name] = [
        {
            "kind": "Service",
            "namespace": "shop-dev",
            "name": "web",
            "health": {"status": "Healthy"},
        },
        {"kind": "ConfigMap", "namespace": "shop-dev", "name": "web"},
        {
            "kind": "Deployment",
            "namespace": "shop-dev",
            "name": "web",
            "health": {"status": "Degraded", "message": "exceeded its progress deadline"},
        },
    ]
    found = verdict(place, subject.wanted(OURS))
    assert found.state is GitOpsState.DEGRADED
    assert "Deployment shop-dev/web is Degraded: exceeded its progress deadline" in found.message
    assert "ConfigMap" not in found.message


@pytest.mark.parametrize(
    ("says", "state", "words"),
    [
        ({"health": "Progressing"}, GitOpsState.PROGRESSING, "its health is Progressing"),
        ({"health": "Missing"}, GitOpsState.PROGRESSING, "its health is Missing"),
        ({"sync": "OutOfSync"}, GitOpsState.PROGRESSING, "is OutOfSync"),
        (
            {"phase": "Running", "message": "waiting for hooks"},
            GitOpsState.PROGRESSING,
            "waiting for hooks",
        ),
        (
            {"phase": "Failed", "sync": "OutOfSync", "message": "one or more objects failed"},
            GitOpsState.DEGRADED,
            "one or more objects failed",
        ),
        (
            {"sync": "Unknown",
             "conditions": ({"type": "ComparisonError", "message": "rpc error: no such path"},)},
            GitOpsState.PROGRESSING,
            "ComparisonError: rpc error: no such path",
        ),
    ],
)  # fmt: skip
def test_each_state_of_an_application(
    place: AtArgoCd,
    subject: Subject,
    name: str,
    says: dict[str, Any],
    state: GitOpsState,
    words: str,
) -> None:
    place.server.says(name, OURS, **says)
    found = verdict(place, subject.wanted(OURS))
    assert found.state is state
    assert words in found.message
    assert found.observed_revision == OURS


@pytest.mark.parametrize("health", ["Healthy", "Degraded"])
def test_an_application_that_goes_while_it_is_read_is_gone(
    place: AtArgoCd, subject: Subject, name: str, health: str
) -> None:
    """As when its repository was archived: the set of applications drops it."""
    place.server.says(name, OURS, health=health)
    place.server.going.add(name)
    assert place.agent.reconciliation(*subject.place) is None
    place.server.going.clear()
    assert place.agent.reconciliation(*subject.place) is not None


def test_a_failed_sync_of_an_elder_commit_says_nothing_of_ours(
    place: AtArgoCd, subject: Subject, name: str
) -> None:
    place.server.says(name, OURS, phase="Failed")
    status = place.server.applications[name]["status"]
    status["operationState"]["syncResult"]["revision"] = LATER
    assert verdict(place, subject.wanted(OURS)).state is GitOpsState.RECONCILED


def test_an_application_that_nobody_syncs_says_so(
    place: AtArgoCd, subject: Subject, name: str
) -> None:
    place.server.applications[name]["spec"]["syncPolicy"] = {}
    place.server.says(name, OURS, sync="OutOfSync")
    assert "it is not synced by itself" in verdict(place, subject.wanted(OURS)).message


@pytest.mark.parametrize(
    ("state", "verdict_state", "words"),
    [
        (
            {"ready": "False", "reason": "SecretSyncedError", "message": "no such secret"},
            GitOpsState.DEGRADED,
            "SecretSyncedError: no such secret",
        ),
        ({"generation": 2}, GitOpsState.PROGRESSING, "has not brought it yet"),
    ],
)
def test_a_secret_that_its_operator_has_not_brought(
    place: AtArgoCd,
    subject: Subject,
    name: str,
    state: dict[str, Any],
    verdict_state: GitOpsState,
    words: str,
) -> None:
    place.server.brings(name, secret_of(subject, 1, **state))
    found = verdict(place, subject.wanted(OURS))
    assert found.state is verdict_state
    assert f"ExternalSecret shop-dev/app-key: {words}" in found.message.replace("its operator ", "")


def test_of_several_applications_the_one_behind_speaks(
    place: AtArgoCd, subject: Subject, name: str
) -> None:
    place.server.add("shop-dev-2", f"git@git.example.test:{'/'.join(subject.place)}.git")
    place.server.says("shop-dev-2", LATER, finished_at="2026-01-02T00:00:00Z")
    place.server.brings("shop-dev-2", secret_of(subject, 2))
    found = told(place, subject)
    assert found.observed_revision == OURS
    assert found.applied_secrets == (), "the secret is at two versions"
    place.server.says(name, LATER, finished_at="2026-01-03T00:00:00Z")
    place.server.brings(name, secret_of(subject, 2))
    assert verdict(place, subject.wanted(LATER, 2)).state is GitOpsState.RECONCILED


def test_an_application_of_several_sources_has_a_revision_for_each(
    place: AtArgoCd, subject: Subject, name: str
) -> None:
    url = f"{FORGE}/{'/'.join(subject.place)}.git"
    application = place.server.applications[name]
    application["spec"].pop("source")
    application["spec"]["sources"] = [{"repoURL": f"{FORGE}/charts/web"}, {"repoURL": url}]
    application["status"]["sync"] = {"status": "Synced", "revisions": [LATER, OURS]}
    application["status"]["operationState"]["syncResult"] = {"revisions": [LATER, OURS]}
    assert told(place, subject).observed_revision == OURS


def test_a_project_narrows_what_is_read(
    place: AtArgoCd, subject: Subject, name: str, tmp_path: Path
) -> None:
    for project, is_known in (("default", True), ("others", False)):
        with closing(argo_cd(place.server.url, tmp_path, TOKEN, project)) as agent:
            assert (agent.reconciliation(*subject.place) is not None) is is_known
    assert {each.query.get("projects") for each in place.server.calls("GET", "/applications")} == {
        "default", "others", None,
    }  # fmt: skip
    assert name


@pytest.mark.parametrize("follows", [True, False])
def test_the_forge_knows_which_commit_follows_ours(
    place: AtArgoCd,
    subject: Subject,
    name: str,
    follows: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    place.server.says(name, LATER)
    asked: list[tuple[str, str]] = []

    class Forge:
        def is_followed_by(self, repository: object, revision: str, later: str) -> bool:
            assert repository == subject.repository
            asked.append((revision, later))
            return follows

    forge: Any = Forge()
    verification = GitOpsVerification(place.agent, forge, SystemClock(), settle_seconds=0)
    state = verification.verify(subject.wanted(OURS)).state
    assert state is (GitOpsState.RECONCILED if follows else GitOpsState.PROGRESSING)
    assert asked == [(OURS, LATER)]


@pytest.mark.parametrize("may_read", [True, False])
def test_what_the_token_may_do_is_told(
    place: AtArgoCd,
    may_read: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    place.server.may_read = may_read
    (permission,) = place.agent.permissions()
    assert permission.granted is may_read
    assert "p, ACCOUNT, applications, get, */*, allow" in permission.how_to_grant


CALLS: dict[str, tuple[str, Callable[[AtArgoCd, Subject], object]]] = {
    "list applications": ("/applications", told),
    "read resource tree": ("/resource-tree", told),
    "read managed resources": ("/managed-resources", told),
    "read own rights": ("/can-i/", lambda place, _: place.agent.permissions()),
}


@pytest.mark.parametrize("fault", IS_TOLD_AS)
@pytest.mark.parametrize("operation", CALLS)
def test_a_fault_is_told_and_a_repeat_sees(
    place: AtArgoCd, subject: Subject, name: str, fault: Fault, operation: str
) -> None:
    place.server.says(name, OURS, health="Progressing")
    path, work = CALLS[operation]
    place.server.plan(fault, "GET", path)
    assert_told(fault, "argocd", operation, lambda: work(place, subject))
    assert place.server.planned == [], "the fault was met"
    assert ready_condition(told(place, subject)).reason == "Progressing"
    assert {each.method for each in place.server.recorded} == {"GET"}, "it only reads"
