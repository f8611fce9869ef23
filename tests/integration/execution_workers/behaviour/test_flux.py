"""Flux: each state of a Kustomization, several of them, and each fault of each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from execution_workers.gitops import ready_condition
from idp_kernel.errors import ProviderRejected
from idp_kernel.wire.worker import GitOpsState
from tests.fixtures.vendors.flux import NAMESPACE, TOKEN, FluxCluster
from tests.fixtures.vendors.stand_in import Fault
from tests.integration.execution_workers.behaviour.faults import IS_TOLD_AS, assert_told
from tests.integration.execution_workers.behaviour.test_gitops_agent import (
    FORGE,
    AtFlux,
    Subject,
    flux_agent,
    secret_of,
    subject,
    told,
    verdict,
)

__all__ = ["subject"]
OURS, LATER = "a" * 40, "b" * 40


@pytest.fixture
def place(tmp_path: Path) -> Iterator[AtFlux]:
    with FluxCluster() as cluster, closing(flux_agent(cluster.url, tmp_path, TOKEN)) as agent:
        yield AtFlux(cluster, tmp_path, agent)


@pytest.fixture
def name(place: AtFlux, subject: Subject) -> str:
    """A Kustomization that has applied our commit."""
    place.cluster.add_source("shop", f"{FORGE}/{'/'.join(subject.place)}.git")
    place.cluster.add("shop-dev", "shop")
    place.cluster.says("shop-dev", OURS, secrets=(secret_of(subject, 1),))
    return "shop-dev"


@pytest.mark.parametrize(
    ("says", "state", "words"),
    [
        (
            {"ready": "False", "reason": "HealthCheckFailed",
             "message": "timeout waiting for: [Deployment/shop-dev/web status: 'InProgress']"},
            GitOpsState.DEGRADED,
            "Deployment/shop-dev/web",
        ),
        (
            {"ready": "False", "reason": "ReconciliationFailed", "message": "Namespace is invalid"},
            GitOpsState.DEGRADED,
            "Namespace is invalid",
        ),
        (
            {"ready": "False", "reason": "DependencyNotReady", "message": "dependency not ready"},
            GitOpsState.PROGRESSING,
            "DependencyNotReady",
        ),
        (
            {"ready": "Unknown", "reason": "Progressing", "message": "Reconciliation in progress"},
            GitOpsState.PROGRESSING,
            "Reconciliation in progress",
        ),
        ({"healthy": "False"}, GitOpsState.DEGRADED, "health check failed"),
        ({"healthy": "True"}, GitOpsState.RECONCILED, ""),
    ],
)  # fmt: skip
def test_each_state_of_a_kustomization(
    place: AtFlux,
    subject: Subject,
    name: str,
    says: dict[str, Any],
    state: GitOpsState,
    words: str,
) -> None:
    place.cluster.says(name, OURS, secrets=(secret_of(subject, 1),), **says)
    found = verdict(place, subject.wanted(OURS))
    assert found.state is state
    assert words in found.message
    assert found.observed_revision == OURS


def test_what_it_says_of_an_elder_generation_does_not_count(
    place: AtFlux, subject: Subject, name: str
) -> None:
    place.cluster.kustomizations[name]["metadata"]["generation"] = 2
    found = verdict(place, subject.wanted(OURS))
    assert found.state is GitOpsState.PROGRESSING
    assert f"Kustomization {NAMESPACE}/shop-dev" in found.message


def test_one_that_is_suspended_says_so(place: AtFlux, subject: Subject, name: str) -> None:
    place.cluster.kustomizations[name]["spec"]["suspend"] = True
    assert "is suspended" in verdict(place, subject.wanted(OURS)).message


def test_a_repository_without_a_kustomization_says_so(place: AtFlux, subject: Subject) -> None:
    place.cluster.add_source("shop", f"{FORGE}/{'/'.join(subject.place)}.git")
    ready = ready_condition(told(place, subject))
    assert (ready.status, ready.reason) == ("Unknown", "NoKustomization")
    assert f"{NAMESPACE}/shop" in ready.message


@pytest.mark.parametrize(
    ("state", "verdict_state", "words"),
    [
        (
            {"ready": "False", "reason": "SecretSyncedError", "message": "no such secret"},
            GitOpsState.DEGRADED,
            "ExternalSecret shop-dev/app-key: SecretSyncedError: no such secret",
        ),
        ({"generation": 2}, GitOpsState.PROGRESSING, "its operator has not brought it yet"),
    ],
)
def test_a_secret_that_its_operator_has_not_brought(
    place: AtFlux,
    subject: Subject,
    name: str,
    state: dict[str, Any],
    verdict_state: GitOpsState,
    words: str,
) -> None:
    place.cluster.says(name, OURS, secrets=(secret_of(subject, 1, **state),))
    found = verdict(place, subject.wanted(OURS))
    assert found.state is verdict_state
    assert words in found.message


def test_a_secret_that_is_gone_is_told_from_a_kind_that_is_not_served(
    place: AtFlux, subject: Subject, name: str
) -> None:
    place.cluster.secrets.clear()
    found = verdict(place, subject.wanted(OURS))
    assert (found.state, name in found.message) == (GitOpsState.PROGRESSING, False)
    place.cluster.serves_external_secrets = False
    with pytest.raises(ProviderRejected, match="Install the External Secrets Operator") as told_of:
        verdict(place, subject.wanted(OURS))
    assert told_of.value.code == "flux_missing"
    assert told_of.value.message.startswith("flux did not read external secret: no externalsecrets")


def test_of_several_kustomizations_none_may_be_behind(
    place: AtFlux, subject: Subject, name: str
) -> None:
    place.cluster.add("shop-dev-2", "shop", sourceRef={
        "kind": "GitRepository", "name": "shop", "namespace": NAMESPACE,
    })  # fmt: skip
    place.cluster.says("shop-dev-2", LATER)
    assert verdict(place, subject.wanted(LATER)).state is GitOpsState.PROGRESSING
    place.cluster.says(name, LATER, secrets=(secret_of(subject, 1),))
    assert verdict(place, subject.wanted(LATER)).state is GitOpsState.RECONCILED
    place.cluster.says("shop-dev-2", LATER, ready="False", reason="BuildFailed", message="wrong")
    assert verdict(place, subject.wanted(LATER)).state is GitOpsState.DEGRADED


def test_a_list_is_read_to_its_end(place: AtFlux, subject: Subject, name: str) -> None:
    place.cluster.page_size = 2
    for number in range(5):
        place.cluster.add_source(f"other-{number}", f"{FORGE}/others/x{number}")
    place.cluster.sources["shop"] = place.cluster.sources.pop("shop")
    assert told(place, subject).observed_revision == OURS
    assert len(place.cluster.calls("GET", "/gitrepositories")) == 3
    assert name


@pytest.mark.parametrize("namespace", [NAMESPACE, None])
def test_a_namespace_narrows_what_is_read(
    place: AtFlux, subject: Subject, name: str, tmp_path: Path, namespace: str | None
) -> None:
    with closing(flux_agent(place.cluster.url, tmp_path, TOKEN, namespace)) as agent:
        assert agent.reconciliation(*subject.place) is not None
    (call,) = place.cluster.calls("GET", "/kustomizations")
    assert (f"/namespaces/{NAMESPACE}/" in call.path) is (namespace is not None)
    assert name


@pytest.mark.parametrize("may_read", [True, False])
def test_what_the_token_may_do_is_told(
    place: AtFlux,
    may_read: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    place.cluster.may_read = may_read
    found = place.agent.permissions()
    assert [each.granted for each in found] == [may_read] * 3
    assert found[0].name == "list gitrepositories.source.toolkit.fluxcd.io"


CALLS: dict[str, tuple[str, str, Callable[[AtFlux, Subject], object]]] = {
    "list gitrepositories": ("GET", "/gitrepositories", told),
    "list kustomizations": ("GET", "/kustomizations", told),
    "read external secret": ("GET", "/externalsecrets/", told),
    "read own rights": ("POST", "/selfsubject", lambda place, _: place.agent.permissions()),
}


@pytest.mark.parametrize("fault", IS_TOLD_AS)
@pytest.mark.parametrize("operation", CALLS)
def test_a_fault_is_told_and_a_repeat_sees(
    place: AtFlux, subject: Subject, name: str, fault: Fault, operation: str
) -> None:
    method, path, work = CALLS[operation]
    place.cluster.plan(fault, method, path)
    assert_told(fault, "flux", operation, lambda: work(place, subject))
    assert place.cluster.planned == [], "the fault was met"
    assert verdict(place, subject.wanted(OURS)).state is GitOpsState.RECONCILED
    changes = {each.path for each in place.cluster.recorded if each.method != "GET"}
    assert changes <= {"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"}
    assert name
