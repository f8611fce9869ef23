"""The revocation job on fakes: the consumers first, then the credential, whoever is away."""

from __future__ import annotations

import pytest
from dagster import DagsterEventType, DagsterInstance, ExecuteInProcessResult, MetadataValue
from structlog.testing import capture_logs

from idp_dagster.jobs.secret_revocation import secret_revocation, secret_revocation_steps
from idp_kernel.errors import PlatformError, ProviderRejected, Unavailable
from idp_kernel.pull_requests import pull_request_open
from idp_kernel.wire.engine import RevocationDesiredState
from idp_kernel.wire.worker import RotatedSecret
from idp_kernel.workflows import SECRET_REVOCATION, ProviderEvent, Step, WaitingReason
from tests.unit.idp_dagster.fakes import (
    REVISION,
    FakeControlPlane,
    FakeWorkers,
    claim,
    revocation_state,
)
from tests.unit.idp_dagster.running import QUICK, run_steps

STEPS = list(SECRET_REVOCATION.steps)
LOOKING = (Step.RELEASE_CONSUMERS, Step.VERIFY_SECRETS_ENDED)


@pytest.fixture
def control_plane() -> FakeControlPlane:
    return FakeControlPlane(claim(wanted=revocation_state()))


def carry_out(
    control_plane: FakeControlPlane,
    workers: FakeWorkers,
    selection: list[str] | None = None,
    **patience: float,
) -> ExecuteInProcessResult:
    first = 0 if selection is None else STEPS.index(Step(selection[0].rstrip("*")))
    looks = {**QUICK, **patience}
    ops = {str(step): looks for step in LOOKING if STEPS.index(step) >= first} or None
    return run_steps(secret_revocation_steps, control_plane, workers, ops=ops, selection=selection)


def test_the_job_says_what_starts_it_and_that_nothing_takes_it_back() -> None:
    told = secret_revocation.description or ""
    assert "POST /v1/secrets/{id}/revoke" in told
    assert "Nothing takes that back." in told


def test_bindings_go_before_the_credential_ends(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers()
    assert carry_out(control_plane, workers).success
    assert workers.steps_called() == STEPS[:-1]
    (wanted,) = control_plane.claim.wanted(RevocationDesiredState).secrets
    for _, body, _ in workers.calls:
        assert isinstance(body, RotatedSecret)
        assert dict(body) == dict(wanted)
    assert control_plane.finalized is not None
    assert set(control_plane.finalized) == set(STEPS)
    removed = control_plane.finalized[Step.REMOVE_SECRET_BINDINGS]
    item = f"binding/{wanted.bindings[0].binding_id}"
    assert removed.reference(item, "revision") == REVISION
    assert removed.events == (ProviderEvent.GIT_SECRET_BINDINGS_REMOVED,)
    ended = control_plane.finalized[Step.END_CREDENTIALS]
    assert ended.events == (ProviderEvent.CREDENTIAL_ISSUER_CREDENTIALS_ENDED,)


def test_every_secret_has_a_call_of_its_own() -> None:
    one, other = revocation_state(), revocation_state()
    both = one.model_copy(update={"secrets": (*one.secrets, *other.secrets)})
    control_plane, workers = FakeControlPlane(claim(wanted=both)), FakeWorkers()
    assert carry_out(control_plane, workers).success
    for step in STEPS[:-1]:
        assert workers.steps_called().count(step) == 2
    assert control_plane.finalized is not None
    assert len(control_plane.finalized[Step.END_CREDENTIALS].items) == 2


def test_no_secret_waits_for_the_pull_request_of_another() -> None:
    one, other = revocation_state(), revocation_state()
    both = one.model_copy(update={"secrets": (*one.secrets, *other.secrets)})
    links = [f"https://forge.test/{number}" for number in (1, 2)]
    waits = [pull_request_open(f"{link} waits.", [link], 30) for link in links]
    control_plane = FakeControlPlane(claim(wanted=both))
    workers = FakeWorkers(errors={Step.REMOVE_SECRET_BINDINGS: [*waits]})
    with DagsterInstance.ephemeral() as instance:
        run = run_steps(secret_revocation_steps, control_plane, workers, instance=instance)
        events = instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    assert workers.steps_called()[:2] == [Step.REMOVE_SECRET_BINDINGS] * 2
    assert control_plane.waits == [(WaitingReason.PULL_REQUEST_OPEN, 30)]
    assert all(link in control_plane.seen[0] for link in links)
    (told,) = [each for each in events if each.step_key == Step.REMOVE_SECRET_BINDINGS]
    assert told.dagster_event is not None
    metadata = told.dagster_event.engine_event_data.metadata
    assert metadata == {
        f"pull request {number}": MetadataValue.url(link)
        for number, link in enumerate(links, start=1)
    }
    assert told.dagster_event.message == control_plane.seen[0]


def test_who_does_not_merge_keeps_no_credential_alive(control_plane: FakeControlPlane) -> None:
    wait = pull_request_open("It waits.", ["https://forge.test/1"], 30)
    workers = FakeWorkers(errors={Step.REMOVE_SECRET_BINDINGS: [wait]})
    assert carry_out(control_plane, workers).success
    assert workers.steps_called() == [Step.REMOVE_SECRET_BINDINGS, Step.END_CREDENTIALS]
    assert control_plane.waits == [(WaitingReason.PULL_REQUEST_OPEN, 30)]
    assert control_plane.seen == ["It waits. The credential has ended already."]
    assert [step for step, _ in control_plane.told] == [], "neither step is over"

    again = FakeControlPlane(control_plane.claim)
    assert carry_out(again, workers).success
    assert workers.steps_called()[2:] == STEPS[:-1], "the rest comes once it is merged"
    assert again.finalized is not None


def test_what_holds_up_the_removal_otherwise_ends_nothing(control_plane: FakeControlPlane) -> None:
    away = ProviderRejected("No.", code="pull_request_not_merged")
    workers = FakeWorkers(errors={Step.REMOVE_SECRET_BINDINGS: [away]})
    assert not carry_out(control_plane, workers).success
    assert workers.steps_called() == [Step.REMOVE_SECRET_BINDINGS]


def test_consumers_get_time_to_lose_it(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers(still_seen=3)
    assert carry_out(control_plane, workers, longest_seconds=60).success
    assert workers.steps_called().count(Step.RELEASE_CONSUMERS) == 4
    assert workers.steps_called().count(Step.VERIFY_SECRETS_ENDED) == 1


def test_who_does_not_let_go_keeps_no_credential_alive(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers(still_seen=10_000)
    assert carry_out(control_plane, workers).success
    assert Step.END_CREDENTIALS in workers.steps_called()
    assert control_plane.waits == [(WaitingReason.ENDED_STILL_SEEN, 60.0)], (
        "it is not revoked while it is seen"
    )
    assert control_plane.finalized is None


@pytest.mark.parametrize("kind", [Unavailable, ProviderRejected])
def test_an_agent_that_cannot_be_asked_keeps_no_credential_alive(
    control_plane: FakeControlPlane, kind: type[PlatformError]
) -> None:
    away = [
        kind("The agent is away.", code="agent_unreachable", details={"target": "gitops"})
        for _ in range(10_000)
    ]
    workers = FakeWorkers(errors={Step.RELEASE_CONSUMERS: [*away]})
    with capture_logs() as logs:
        assert carry_out(control_plane, workers).success
    failed = [each for each in logs if each["event"] == "look_failed"]
    assert [each["code"] for each in failed] == ["agent_unreachable"]
    looks = workers.steps_called().count(Step.RELEASE_CONSUMERS)
    assert [each.target for each in control_plane.downstream] == ["gitops"] * looks
    assert workers.steps_called().count(Step.END_CREDENTIALS) == 1
    assert control_plane.waits == []
    assert control_plane.finalized is not None
