"""One trace a request, as a collector receives it from the running platform."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from idp_kernel.telemetry.run_spans import QUEUE_WAIT, RUN_WAIT, run_span
from idp_kernel.workflows import ROTATION_GRACE, WORKFLOWS, Step, WorkflowName
from tests.e2e import dagster_ui
from tests.e2e.failures import fails_to_provision, lets_it_provision
from tests.e2e.faults import locked_out
from tests.e2e.platform import Platform, Subject, eventually
from tests.e2e.trace_picture import long_enough, picture
from tests.fixtures.otlp import ReceivedSpan

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

GRACE_SECONDS = 2
WHY = {"reason": "a rehearsal"}
SENSOR, REPORT = "workflow_requests_sensor", "report run"
LARGEST_GAP_SECONDS = 0.5
"""For which no span accounts, from the command to the end of the last run."""


@dataclass(frozen=True)
class Trace:
    """The spans of one request, and the request as the API tells it."""

    request: dict[str, Any]
    spans: list[ReceivedSpan]

    def named(self, name: str) -> list[ReceivedSpan]:
        return [each for each in self.spans if each.name == name]

    def one(self, name: str) -> ReceivedSpan:
        (found,) = self.named(name)
        return found

    def way_to(self, found: ReceivedSpan) -> list[str]:
        """From the command to the span, as `service: name`."""
        by_id = {each.span_id: each for each in self.spans}
        way = [found]
        while way[0].parent_id:
            way.insert(0, by_id[way[0].parent_id])
        return [f"{each.service}: {each.name}" for each in way]

    @property
    def orphans(self) -> list[ReceivedSpan]:
        known = {each.span_id for each in self.spans}
        return [each for each in self.spans if each.parent_id and each.parent_id not in known]

    @property
    def step_attempts(self) -> Counter[str]:
        """How often each step was tried, over all attempts."""
        tries: Counter[str] = Counter()
        for step in self.request["steps"]:
            tries[step["step"]] += step["retries"] + 1
        return tries

    @property
    def runs(self) -> list[ReceivedSpan]:
        """One for each attempt, in order."""
        names = {run_span(phase.job_name) for flow in WORKFLOWS.values() for phase in flow.phases}
        return [each for each in self.spans if each.name in names]

    @property
    def largest_gap_seconds(self) -> float:
        covered, largest = self.spans[0].end, 0
        last_end = max(each.end for each in self.runs)
        for each in sorted(self.spans, key=lambda one: one.start):
            if each.start < last_end:
                largest = max(largest, each.start - covered)
                covered = max(covered, each.end)
        return largest / 1e9


def trace_of(platform: Platform, request_id: str) -> Trace:
    """All of it: the last word comes some seconds after the end, with the report of the run."""
    request = platform.ended(request_id)

    def look() -> Trace | None:
        found = Trace(request, platform.otlp.of_request(request_id))
        reported = len(found.named(REPORT)) >= len(request["attempts"])
        return found if reported and not found.orphans else None

    return eventually(look, within_seconds=30, what=f"the whole trace of {request_id}")


def assert_whole(trace: Trace, command: str) -> None:
    """One trace from the command on, every try of every step in it, no time unaccounted for."""
    (root,) = [each for each in trace.spans if not each.parent_id]
    assert (root.service, root.name, root.kind) == ("control-plane-api", command, "server")
    assert len({each.trace_id for each in trace.spans}) == 1
    assert len({each.span_id for each in trace.spans}) == len(trace.spans)
    workflow = WORKFLOWS[WorkflowName(trace.request["workflow"])]
    engine = [each for each in trace.spans if each.service == "workflow-engine"]
    tried = Counter(each.name for each in engine if each.name in set(workflow.steps))
    assert tried == trace.step_attempts
    assert tried.keys() == set(workflow.steps)
    assert len(trace.runs) == len(trace.request["attempts"])
    for earlier, later in zip(trace.runs, trace.runs[1:], strict=False):
        assert later.links == ((earlier.trace_id, earlier.span_id),)
    assert len(trace.named(RUN_WAIT)) == len(trace.runs)
    # An offer that nobody claimed in time is taken again.
    assert len(trace.named(QUEUE_WAIT)) >= len(trace.runs)
    assert trace.largest_gap_seconds < LARGEST_GAP_SECONDS, drawing(trace.spans)
    assert_named(trace, [*trace.runs, root, *(each for each in engine if each.name in tried)])


def assert_named(trace: Trace, spans: Iterable[ReceivedSpan]) -> None:
    """They say whose work they are."""
    told = {
        "idp.workflow_request_id": trace.request["id"],
        "idp.application_id": trace.request["applicationId"],
        "idp.application_environment_id": trace.request.get("applicationEnvironmentId"),
        "idp.secret_id": trace.request.get("secretId"),
    }
    for each in spans:
        for name, value in told.items():
            assert each.attributes.get(name) == value, f"{name} of {each.name}"
        assert each.attributes["idp.team_id"]


def called(trace: Trace) -> set[str]:
    """The providers that were called."""
    return {
        each.name.partition(" ")[0]
        for each in trace.spans
        if each.service == "execution-workers" and each.kind == "client"
    }


def drawing(spans: list[ReceivedSpan]) -> str:
    """The tree, with the start and the duration of each span in milliseconds."""
    first = min(each.start for each in spans)
    known = {each.span_id for each in spans}
    lines: list[str] = []

    def draw(parent_id: str, depth: int) -> None:
        for each in spans:
            if each.parent_id == parent_id or (not parent_id and each.parent_id not in known):
                begin, length = (each.start - first) / 1e6, (each.end - each.start) / 1e6
                name = f"{'  ' * depth}{each.name}"
                lines.append(f"{name:<64} {each.service:<18} {begin:>7.0f} {length:>7.0f}")
                draw(each.span_id, depth + 1)

    draw("", 0)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def onboarding(platform: Platform, onboarded: Subject) -> Trace:
    page = platform.ok(
        "GET", f"/v1/workflow-requests?applicationId={onboarded.application_id}&limit=200"
    )
    (request_id,) = [
        each["id"] for each in page["items"] if each["workflow"] == "ApplicationOnboarding"
    ]
    return trace_of(platform, request_id)


@pytest.fixture(scope="module")
def provisioning(platform: Platform, onboarded: Subject) -> Trace:
    subject = platform.with_new_environment(onboarded)
    secrets = ({"name": "db", "issuer": "postgres"},)
    return trace_of(platform, platform.provision(subject, *secrets)["requestId"])


@pytest.fixture(scope="module")
def rotation(platform: Platform, provisioning: Trace) -> Trace:
    appenv_id = provisioning.request["applicationEnvironmentId"]
    (secret,) = platform.ok("GET", f"/v1/application-environments/{appenv_id}")["secrets"]
    platform.set_grace(secret["id"], GRACE_SECONDS)
    return trace_of(platform, platform.rotate(secret["id"])["requestId"])


@pytest.fixture(scope="module")
def two_secrets(platform: Platform, onboarded: Subject) -> dict[str, Any]:
    """An environment with two secrets, of which one is revoked before all of it is ended."""
    subject = platform.with_new_environment(onboarded)
    return platform.provisioned(subject, {"name": "one"}, {"name": "two"})


def test_an_onboarding_is_one_trace(onboarding: Trace) -> None:
    assert_whole(onboarding, "POST /v1/applications")
    created = next(
        each
        for each in onboarding.spans
        if each.service == "local-forge" and each.name.startswith("POST /")
    )
    job = "application_onboarding"
    step = Step.CREATE_CODE_REPOSITORY
    assert onboarding.way_to(created) == [
        "control-plane-api: POST /v1/applications",
        f"workflow-engine: {QUEUE_WAIT}",
        f"workflow-engine: {SENSOR}",
        f"workflow-engine: run {job}",
        f"workflow-engine: {step}",
        "workflow-engine: POST execution-workers",
        "execution-workers: POST /git/repositories",
        f"execution-workers: {step} repository",
        "execution-workers: local-forge create repository",
        "execution-workers: POST local-forge",
        f"local-forge: {created.name}",
    ]


def test_a_provisioning_is_one_trace_to_every_provider(provisioning: Trace) -> None:
    assert_whole(provisioning, "POST /v1/applications/{application_id}/environments")
    providers = {"local-forge", "openbao", "postgres", "local-gitops-agent"}
    assert providers <= called(provisioning)
    pushed = [each for each in provisioning.spans if each.name.endswith("/git-receive-pack")]
    assert pushed, "git carries the trace to the forge"


def test_a_rotation_is_one_trace_over_both_phases_and_the_grace(rotation: Trace) -> None:
    assert_whole(rotation, "POST /v1/secrets/{secret_id}/rotation")
    assert [each.name for each in rotation.runs] == [
        "run secret_rotation",
        "run secret_rotation_retirement",
    ]
    grace = rotation.one(f"wait {ROTATION_GRACE.reason}")
    assert grace.service == "control-plane-api"
    assert grace.end - grace.start >= GRACE_SECONDS * 10**9
    first, second = rotation.runs
    assert first.start < grace.start
    assert grace.end <= second.start


def test_a_trace_can_be_drawn(rotation: Trace) -> None:
    """As the page on tracing shows it: `IDP_TEST_TRACE_PICTURE` names a file to write."""
    drawn = picture(rotation.spans)
    named = {each.name for each in rotation.spans if each.span_id in long_enough(rotation.spans)}
    assert {*(each.name for each in rotation.runs), str(Step.UPDATE_SECRET_BINDINGS)} <= named
    assert [name for name in named if f">{name}</text>" not in drawn] == []
    if path := os.environ.get("IDP_TEST_TRACE_PICTURE"):
        Path(path).write_text(drawn, encoding="utf-8")


def test_a_revocation_is_one_trace(platform: Platform, two_secrets: dict[str, Any]) -> None:
    path = f"/v1/secrets/{two_secrets['secrets'][0]['id']}/revoke"
    trace = trace_of(platform, platform.ok("POST", path, WHY)["requestId"])
    assert_whole(trace, "POST /v1/secrets/{secret_id}/revoke")
    assert {"openbao", "local-gitops-agent"} <= called(trace)


def test_a_decommissioning_is_one_trace(platform: Platform, two_secrets: dict[str, Any]) -> None:
    path = f"/v1/application-environments/{two_secrets['id']}"
    platform.ok("POST", f"{path}/freeze")
    trace = trace_of(platform, platform.ok("POST", f"{path}/decommission", WHY)["requestId"])
    assert_whole(
        trace, "POST /v1/application-environments/{application_environment_id}/decommission"
    )
    assert {"local-forge", "openbao", "local-gitops-agent"} <= called(trace)


def test_the_end_of_an_application_is_one_trace(platform: Platform) -> None:
    path = f"/v1/applications/{platform.new_subject().application_id}"
    platform.ok("POST", f"{path}/deprecate")
    trace = trace_of(platform, platform.ok("POST", f"{path}/decommission", WHY)["requestId"])
    assert_whole(trace, "POST /v1/applications/{application_id}/decommission")
    assert "local-forge" in called(trace)


def test_an_undo_is_one_trace_beside_that_of_what_it_takes_back(
    platform: Platform, provisioning: Trace, rotation: Trace
) -> None:
    del rotation  # of the login, which is the rotation's since: it stays
    path = f"/v1/workflow-requests/{provisioning.request['id']}/undo"
    trace = trace_of(platform, platform.ok("POST", path, WHY)["requestId"])
    assert_whole(trace, "POST /v1/workflow-requests/{request_id}/undo")
    assert {"local-forge", "openbao"} <= called(trace)
    assert trace.spans[0].trace_id != provisioning.spans[0].trace_id


def test_a_retry_and_what_it_repeats_are_spans_that_know_each_other(
    platform: Platform, onboarded: Subject
) -> None:
    """The workers' database lets nobody in when a step calls them, until it is tried again."""
    step = Step.PROVISION_SECRETS
    hit = platform.arm(f"workflow-engine.{step}.before_call")
    subject = platform.with_new_environment(onboarded)
    accepted = platform.provision(subject)
    eventually(hit.exists, what=f"the run is in {step}")

    def is_tried_again() -> bool:
        steps = platform.request(accepted["requestId"])["steps"]
        return any(each["step"] == step and each["retries"] for each in steps)

    with locked_out(platform, "ledger"):
        hit.unlink()
        eventually(is_tried_again, what=f"{step} is tried again")
    trace = trace_of(platform, accepted["requestId"])
    assert_whole(trace, "POST /v1/applications/{application_id}/environments")
    tries = trace.named(step)
    assert len(tries) == trace.step_attempts[step] > 1
    assert tries[0].has_failed
    assert not tries[-1].has_failed
    assert [each.attributes["idp.retry_number"] for each in tries[:2]] == [0, 1]
    assert tries[1].links == ((tries[0].trace_id, tries[0].span_id),)


def test_a_killed_run_and_the_step_it_was_in_are_in_the_trace(
    platform: Platform, onboarded: Subject
) -> None:
    """The control plane tells of them; what else the process had not sent is missing, and what was
    done for that has no parent. All that came after the kill is whole.
    """
    step = Step.PROVISION_SECRETS
    place = f"workflow-engine.{step}.after_call"
    platform.arm(place)
    accepted = platform.provision(platform.with_new_environment(onboarded))
    platform.kill_at(place)
    request = platform.ended(accepted["requestId"])

    def look() -> Trace | None:
        found = Trace(request, platform.otlp.of_request(request["id"]))
        if not found.named(REPORT) or len(found.runs) != 2:
            return None
        # Services send their spans at times of their own: a parent may come after its children.
        before_the_kill = (each.start < found.runs[0].end for each in found.orphans)
        return found if all(before_the_kill) else None

    trace = eventually(look, within_seconds=30, what="both runs, whole but for what was killed")
    killed, second = trace.runs
    assert (killed.service, killed.attributes["error.type"]) == ("control-plane-api", "run_lost")
    assert second.links == ((killed.trace_id, killed.span_id),)
    lost, again = trace.named(step)
    assert (lost.service, lost.parent_id) == ("control-plane-api", killed.span_id)
    assert (again.service, again.parent_id) == ("workflow-engine", second.span_id)


def test_a_re_run_from_dagsters_ui_goes_on_with_the_trace(
    platform: Platform, onboarded: Subject
) -> None:
    """What the person did begins another, to which the attempt leads."""
    subject = platform.with_new_environment(onboarded)
    failed = fails_to_provision(platform, subject)
    lets_it_provision(platform, subject, failed)
    parent = failed["attempts"][-1]["runId"]
    dagster_ui.ended_run(platform, dagster_ui.reexecute(platform, parent, "FROM_FAILURE"))
    trace = trace_of(platform, failed["id"])
    assert trace.request["state"] == "succeeded"
    first, again = trace.runs
    assert again.trace_id == first.trace_id
    launch = trace.one("launch application_environment_provisioning")
    assert launch.trace_id != again.trace_id
    earlier = {(each.trace_id, each.span_id) for each in (first, launch)}
    assert set(again.links) == earlier


def test_log_lines_of_a_request_are_found_by_its_trace_in_every_service(
    platform: Platform, provisioning: Trace
) -> None:
    trace_id = provisioning.spans[0].trace_id
    for program in ("control-plane-api", "worker", "execution-workers"):
        lines = _lines_of(platform, program, lambda line: line.get("trace_id") == trace_id)
        assert lines, f"{program} logged nothing of the trace"
        named = [line for line in lines if "idp.workflow_request_id" in line]
        assert named, f"{program} does not say whose work it is"
        assert {line["idp.workflow_request_id"] for line in named} == {provisioning.request["id"]}
    worker = _lines_of(
        platform,
        "worker",
        lambda line: line.get("idp.workflow_request_id") == provisioning.request["id"],
    )
    assert {line["trace_id"] for line in worker} == {trace_id}


def _lines_of(
    platform: Platform, program: str, wanted: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    text = (platform.home / "logs" / f"{program}.log").read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if wanted(line)]


def test_polls_begin_no_traces(platform: Platform, provisioning: Trace) -> None:
    del provisioning  # some polls have been made by its end
    roots = {each.name for each in platform.otlp.spans if not each.parent_id}
    assert roots
    assert not [name for name in roots if "/internal/" in name or not name.split()[1:]]
