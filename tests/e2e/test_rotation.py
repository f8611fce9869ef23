"""Rotation seen from outside: logins work throughout, the old one ends when it is retired."""

from __future__ import annotations

from typing import Any

import pytest

from idp_kernel.workflows import SECRET_ROTATION, Step
from tests.e2e.failures import fails_to_rotate
from tests.e2e.logins import (
    FEWER_LOGINS_A_SECOND,
    BoundSecret,
    group_of,
    is_let_in,
    reading,
    roles,
)
from tests.e2e.oracle import events_of
from tests.e2e.platform import Platform, Subject, all_but_one_for_long, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

DATABASE = {"name": "db", "issuer": "postgres"}
EVENTS_IN_ORDER = [
    "secret_rotation_started",
    "credential_issuer_credential_issued",
    "credential_issuer_credential_verified",
    "git_secret_bindings_updated",
    "gitops_consumers_confirmed",
    "credential_issuer_credential_retired",
    "workflow_secret_rotation_completed",
]
GRACE_SECONDS = 2


@pytest.fixture
def bound(platform: Platform, subject: Subject) -> BoundSecret:
    """A database login of a new environment."""
    appenv = platform.provisioned(subject, DATABASE)
    platform.set_grace(_secret_id(platform, appenv["id"]), GRACE_SECONDS)
    return BoundSecret(platform, subject.team, appenv["id"], "db")


def _secret_id(platform: Platform, appenv_id: str) -> str:
    appenv = platform.ok("GET", f"/v1/application-environments/{appenv_id}")
    (secret,) = appenv["secrets"]
    return str(secret["id"])


def _in_grace(platform: Platform, request_id: str) -> dict[str, Any] | None:
    request = platform.request(request_id)
    return request if request["state"] == "waiting" and request["phase"] == 2 else None


def _assert_rotated(platform: Platform, bound: BoundSecret, version: int) -> None:
    """One live version, pinned; two roles, the other one disabled; the domain says the same."""
    secret = platform.secret(_secret_id(platform, bound.appenv_id))
    assert (secret["state"], secret["version"]) == ("Active", version)
    assert bound.pinned_version == version
    assert bound.live_versions() == [version]
    standing = roles(platform, group_of(secret["id"]))
    username = bound.values()["username"]
    assert standing == {name: name == username for name in standing}
    assert len(standing) == 2


def test_a_rotation_refuses_no_login_and_ends_the_old_one(
    platform: Platform, bound: BoundSecret
) -> None:
    secret_id = _secret_id(platform, bound.appenv_id)
    old = bound.values()
    hit = platform.arm(f"workflow-engine.{Step.RETIRE_OLD_CREDENTIAL}.before_call")
    with reading(bound) as reader:
        accepted = platform.rotate(secret_id)
        request_id = accepted["requestId"]
        eventually(hit.exists, what="the grace is over")
        assert bound.pinned_version == 2
        assert is_let_in(old), "before its retirement the old login works"
        assert is_let_in(bound.values())
        hit.unlink()
        request = platform.ended(request_id)
    assert request["state"] == "succeeded", request
    assert not is_let_in(old), "after its retirement it is refused"
    assert reader.refusals == []
    assert set(reader.versions) == {1, 2}
    assert [attempt["phase"] for attempt in request["attempts"]] == [1, 2]
    assert [step["step"] for step in request["steps"]] == list(SECRET_ROTATION.steps)
    assert events_of(platform, request_id) == EVENTS_IN_ORDER
    _assert_rotated(platform, bound, 2)


def test_a_generated_value_is_rotated_too(platform: Platform, subject: Subject) -> None:
    appenv = platform.provisioned(subject)
    bound = BoundSecret(platform, subject.team, appenv["id"], "app-key")
    secret_id, old = _secret_id(platform, appenv["id"]), bound.values()
    accepted = platform.rotate(secret_id, emergency=True, reason="it was in a screenshot")
    request = platform.ended(accepted["requestId"])
    assert request["state"] == "succeeded", request
    assert bound.values()["value"] != old["value"]
    assert bound.live_versions() == [bound.pinned_version] == [2]
    revision = platform.ok("GET", f"/v1/application-environments/{appenv['id']}")["revision"]
    assert revision == bound.head


def test_a_second_rotation_waits_for_the_first_or_is_an_emergency(
    platform: Platform, bound: BoundSecret
) -> None:
    secret_id = _secret_id(platform, bound.appenv_id)
    platform.set_grace(secret_id, 3600)
    first = platform.rotate(secret_id)["requestId"]
    eventually(lambda: _in_grace(platform, first), what="the grace has begun")
    in_grace = bound.values()
    refused = platform.api("POST", f"/v1/secrets/{secret_id}/rotation", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "rotation_in_grace")
    assert refused.json()["activeRequestId"] == first
    second = platform.rotate(secret_id, emergency=True)["requestId"]
    assert platform.ended(second)["state"] == "succeeded"
    assert platform.request(first)["state"] == "cancelled"
    assert not is_let_in(in_grace)
    _assert_rotated(platform, bound, 3)


def test_a_login_that_does_not_work_is_never_bound(platform: Platform, bound: BoundSecret) -> None:
    with reading(bound) as reader:
        failed = fails_to_rotate(bound)
        assert failed["error"]["code"] == "new_credential_refused"
        assert bound.pinned_version == 1
        rotated = platform.ended(
            platform.rotate(_secret_id(platform, bound.appenv_id))["requestId"]
        )
    assert rotated["state"] == "succeeded", rotated
    assert reader.refusals == []
    _assert_rotated(platform, bound, 3)


@pytest.mark.parametrize("step", all_but_one_for_long(SECRET_ROTATION, Step.UPDATE_SECRET_BINDINGS))
def test_a_killed_step_is_done_once(platform: Platform, bound: BoundSecret, step: Step) -> None:
    """The worker's process is killed after the step's call, before anybody is told."""
    platform.arm(f"workflow-engine.{step}.after_call")
    with reading(bound, FEWER_LOGINS_A_SECOND) as reader:
        accepted = platform.rotate(_secret_id(platform, bound.appenv_id))
        platform.kill_at(f"workflow-engine.{step}.after_call")
        request = platform.ended(accepted["requestId"])
    assert request["state"] == "succeeded", request
    assert reader.refusals == []
    assert events_of(platform, request["id"]) == EVENTS_IN_ORDER
    _assert_rotated(platform, bound, 2)


@pytest.mark.parametrize("step", all_but_one_for_long(SECRET_ROTATION, Step.CONFIRM_CONSUMERS))
def test_after_a_rotation_that_failed_the_next_leaves_nothing_over(
    platform: Platform, bound: BoundSecret, step: Step
) -> None:
    """Cancelled in that step; the login that is bound works throughout."""
    secret_id = _secret_id(platform, bound.appenv_id)
    moment = "before_call" if step is Step.FINALIZE_SECRET_ROTATION else "after_call"
    hit = platform.arm(f"workflow-engine.{step}.{moment}")
    with reading(bound, FEWER_LOGINS_A_SECOND) as reader:
        given_up = platform.rotate(secret_id)["requestId"]
        eventually(hit.exists, what=f"the run is in {step}")
        platform.ok("POST", f"/v1/workflow-requests/{given_up}/cancel", {})
        ended = platform.ended(given_up)
        hit.unlink(missing_ok=True)
        rotated = platform.ended(platform.rotate(secret_id)["requestId"])
    assert ended["state"] == "cancelled", ended
    assert rotated["state"] == "succeeded", rotated
    assert reader.refusals == []
    _assert_rotated(platform, bound, bound.pinned_version)
