"""What an earlier version left is brought to an end, and what this one began is not stranded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from control_plane.adapters.database import new_engine, transaction
from control_plane.adapters.schema import _config, upgrade
from idp_kernel.errors import Conflict
from idp_kernel.ids import new_id
from tests.fixtures.stack import FreshDatabase, PostgresServer
from tests.integration.control_plane.conftest import (
    Keys,
    Platform,
    new_database,
    running_platform,
)
from tests.integration.control_plane.engine_run import claimed
from tests.integration.control_plane.rotations import (
    DAY_SECONDS,
    in_grace,
    retire,
    rotation_of,
    secret_in_use,
)
from tests.integration.control_plane.test_adding_secrets import added, adding
from tests.integration.control_plane.test_undo import carried_out, provisioning_of, undo_of

pytestmark = pytest.mark.endurance

ELDER = new_id()
"""The id of everything that the earlier version left."""
ROWS_OF_0001 = """
INSERT INTO teams VALUES (:id, 'payments', 'Payments', 'Active', now());
INSERT INTO environments VALUES (:id, 'dev', '', 'Active', now());
INSERT INTO applications VALUES (:id, :id, 'shop', '', 'Approved', now());
INSERT INTO application_environments VALUES (:id, :id, :id, 'Provisioning', NULL, now());
INSERT INTO deployment_repositories
    VALUES (:id, :id, 'payments', 'appenv-x', NULL, 'Provisioning');
INSERT INTO secrets
    VALUES (:id, :id, 'app-key', 'runtime', 'low', 'Provisioning', NULL, NULL);
INSERT INTO secret_bindings VALUES (:id, :id, :id, 'Provisioning');
INSERT INTO workflow_requests (
    id, workflow, version, team_id, application_id, application_environment_id, requested_by,
    reason, desired_state, state, phase, attempt, generation, fence, used_attempts, setbacks,
    cancel_requested, waited_seconds, offers, created_at, started_at, pending_since, deadline_at
) VALUES (
    :id, 'ApplicationEnvironmentProvisioning', 1, :id, :id, :id, 'ada',
    '', :desired, 'pending', 1, 1, 1, 0, 0, 0,
    false, 0, 0, now(), now(), now(), now() + interval '1 hour'
);
INSERT INTO workflow_subjects VALUES (:id, 'application_environment', :id, true);
INSERT INTO workflow_subjects VALUES (:id, 'secret', :id, true)
"""
DESIRED_OF_0001 = {
    "subject": {
        "application_environment_id": ELDER,
        "team": "payments",
        "application": "shop",
        "environment": "dev",
    },
    "repository": {"repository_id": ELDER, "owner": "payments", "name": "appenv-x"},
    "required_approvals": 1,
    "secrets": [
        {"secret_id": ELDER, "name": "app-key", "purpose": "runtime", "sensitivity": "low"}
    ],
    "binding_ids": {ELDER: ELDER},
}


@pytest.fixture
def migrated(postgres_server: PostgresServer) -> FreshDatabase:
    """A database of its own, which goes back and forth."""
    return new_database(postgres_server)


@pytest.fixture
def platform(migrated: FreshDatabase, keys: Keys) -> Iterator[Platform]:
    with running_platform(migrated, keys) as running:
        yield running


@pytest.fixture
def upgraded(migrated: FreshDatabase) -> None:
    """The database of the platform, upgraded while provisioning was under way."""
    engine = new_engine(migrated.url)
    with transaction(engine) as connection:
        command.downgrade(_config(connection), "0001")
        for row in ROWS_OF_0001.split(";"):
            connection.execute(text(row), {"id": ELDER, "desired": json.dumps(DESIRED_OF_0001)})
    upgrade(engine)
    engine.dispose()


@pytest.mark.usefixtures("upgraded")
def test_provisioning_that_was_under_way_goes_on(platform: Platform) -> None:
    run = claimed(platform, ELDER)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    appenv = platform.environment_of(ELDER)
    assert (appenv["state"], appenv["secrets"][0]["state"]) == ("Active", "Active")
    assert platform.admin.seen(f"/v1/applications/{ELDER}")["state"] == "Approved"


@pytest.mark.usefixtures("upgraded")
def test_an_application_is_onboarded_while_its_provisioning_goes_on(platform: Platform) -> None:
    path = f"/v1/applications/{ELDER}"
    refused = platform.admin.post(f"{path}/environments", {"environment": "dev"})
    assert (refused.status_code, refused.json()["code"]) == (409, "application_not_ready")
    assert "/onboarding" in refused.json()["detail"]
    onboarding = claimed(platform, platform.admin.ok(f"{path}/onboarding")["requestId"])
    run = claimed(platform, ELDER)
    assert onboarding.finalize().json()["state"] == "succeeded"
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert platform.admin.seen(path)["state"] == "Active"
    (secret,) = platform.environment_of(ELDER)["secrets"]
    rotation = platform.admin.post(f"/v1/secrets/{secret['id']}/rotation", {})
    assert rotation.status_code == 202, rotation.text


# ── back ─────────────────────────────────────────────────────────────────────────────────────


def go_back(platform: Platform, revision: str) -> None:
    with transaction(platform.engine) as connection:
        command.downgrade(_config(connection), revision)


def change(platform: Platform, statement: str, **values: Any) -> None:
    with transaction(platform.engine) as connection:
        connection.execute(text(statement), values)


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_a_rotation_under_way_is_not_stranded(platform: Platform, revision: str) -> None:
    secret = secret_in_use(platform)
    pending = rotation_of(platform, secret)
    with pytest.raises(Conflict, match=r"1 requests for SecretRotation .* 1 secrets that are Rot"):
        go_back(platform, revision)
    platform.admin.ok(f"/v1/workflow-requests/{pending}/cancel", {})
    waiting = in_grace(platform, secret)
    with pytest.raises(Conflict, match="SecretRotation") as refused:
        go_back(platform, revision)
    assert refused.value.code == "downgrade_refused"
    platform.sweep_after(DAY_SECONDS + 1)
    retire(platform, waiting)
    go_back(platform, revision)


def test_a_secret_that_rotates_is_not_stranded(platform: Platform) -> None:
    secret = secret_in_use(platform)
    change(platform, "UPDATE secrets SET state = 'Rotating' WHERE id = :id", id=secret.id)
    with pytest.raises(Conflict, match="there: 1 secrets that are Rotating"):
        go_back(platform, "0002")


def test_an_onboarding_under_way_is_not_stranded(platform: Platform) -> None:
    subject = platform.new_subject()
    body = {"team": subject.team, "slug": "web"}
    accepted = platform.admin.ok("/v1/applications", body)
    with pytest.raises(
        Conflict, match=r"1 requests for ApplicationOnb.* 1 applications that are On"
    ):
        go_back(platform, "0001")
    platform.admin.ok(f"/v1/workflow-requests/{accepted['requestId']}/cancel", {})
    id_ = accepted["applicationId"]
    change(platform, "UPDATE applications SET state = 'Onboarding' WHERE id = :id", id=id_)
    with pytest.raises(Conflict, match="there: 1 applications that are Onboarding"):
        go_back(platform, "0001")
    change(platform, "UPDATE applications SET state = 'Approved' WHERE id = :id", id=id_)
    go_back(platform, "0001")


def test_the_issuer_of_a_secret_is_not_forgotten(platform: Platform) -> None:
    secret_in_use(platform, issuer="postgres")
    with pytest.raises(Conflict, match="there: 1 secrets of another issuer"):
        go_back(platform, "base")
    go_back(platform, "0002")


def test_an_undo_under_way_is_not_stranded(platform: Platform) -> None:
    secret = secret_in_use(platform)
    path = "/v1/workflow-requests"
    (provisioning,) = platform.admin.seen(path, applicationEnvironmentId=secret.environment_id)[
        "items"
    ]
    undo = platform.admin.ok(f"{path}/{provisioning['id']}/undo", {})["requestId"]
    with pytest.raises(Conflict, match="there: 1 requests for Compensation"):
        go_back(platform, "0006")
    run = claimed(platform, undo)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    go_back(platform, "0006")
    with transaction(platform.engine) as connection:
        left = connection.execute(text("SELECT DISTINCT workflow FROM workflow_requests"))
        assert set(left.scalars()) == {
            "ApplicationOnboarding",
            "ApplicationEnvironmentProvisioning",
        }, "the older version knows no other"
        for table in ("request_steps", "request_attempts", "workflow_subjects"):
            of_the_undo = f"SELECT count(*) FROM {table} WHERE request_id = :id"  # noqa: S608 - the tables above
            assert connection.execute(text(of_the_undo), {"id": undo}).scalar_one() == 0
            others = f"SELECT count(*) FROM {table}"  # noqa: S608 - the tables above
            assert connection.execute(text(others)).scalar_one() > 0


def test_the_end_of_an_application_under_way_is_not_stranded(platform: Platform) -> None:
    subject = platform.new_subject()
    path = f"/v1/applications/{subject.application_id}"
    platform.admin.ok(f"{path}/deprecate")
    ending = platform.admin.ok(f"{path}/decommission", {"reason": "It ends."})["requestId"]
    with pytest.raises(Conflict, match="there: 1 requests for ApplicationDecommissioning"):
        go_back(platform, "0008")
    run = claimed(platform, ending)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    go_back(platform, "0008")
    with transaction(platform.engine) as connection:
        left = connection.execute(text("SELECT DISTINCT workflow FROM workflow_requests"))
        assert set(left.scalars()) == {"ApplicationOnboarding"}


def test_a_revocation_under_way_is_not_stranded(platform: Platform) -> None:
    secret = secret_in_use(platform)
    body = {"reason": "It ends."}
    revocation = platform.admin.ok(f"/v1/secrets/{secret.id}/revoke", body)["requestId"]
    with pytest.raises(Conflict, match="there: 1 requests for SecretRevocation"):
        go_back(platform, "0007")
    run = claimed(platform, revocation)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    go_back(platform, "0007")
    with transaction(platform.engine) as connection:
        left = connection.execute(text("SELECT DISTINCT workflow FROM workflow_requests"))
        assert "SecretRevocation" not in set(left.scalars())
        state = connection.execute(
            text("SELECT state FROM secrets WHERE id = :id"), {"id": secret.id}
        )
        assert state.scalar_one() == "Revoked"


def test_a_proposal_is_not_stranded(platform: Platform) -> None:
    team = platform.new_subject().team
    policy = platform.admin.put(f"/v1/teams/{team}/policy", {"applicationApproval": "required"})
    assert policy.status_code == 200
    proposed = [
        platform.admin.ok("/v1/applications", {"team": team, "slug": slug})
        for slug in ("rejected", "approved")
    ]
    with pytest.raises(Conflict, match="there: 2 applications that are Proposed"):
        go_back(platform, "0009")
    rejected, approved = (f"/v1/applications/{each['applicationId']}" for each in proposed)
    platform.admin.ok(f"{rejected}/reject", {"reason": "No."})
    platform.admin.ok(f"{approved}/approve")
    with pytest.raises(Conflict, match="there: 1 requests that need an approval"):
        go_back(platform, "0009")
    run = claimed(platform, proposed[1]["requestId"])
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    go_back(platform, "0009")
    with transaction(platform.engine) as connection:
        kept = connection.execute(text("SELECT desired_state::text FROM workflow_requests"))
        assert not [each for each in kept.scalars() if "needsApproval" in each]


def test_an_addition_of_secrets_is_not_taken_for_a_provisioning(platform: Platform) -> None:
    """The older version would undo the whole environment with it."""
    before = secret_in_use(platform)
    first = provisioning_of(platform, before)
    addition = added(platform, before, "mailer")
    undo = undo_of(platform, addition.request_id)
    with pytest.raises(Conflict, match="there: 1 requests that add secrets, or take added ones"):
        go_back(platform, "0009")
    carried_out(platform, undo)
    under_way = adding(platform, before, "db")
    with pytest.raises(Conflict, match="there: 1 requests that add secrets, or take added ones"):
        go_back(platform, "0009")
    under_way.do_all()
    assert under_way.finalize().json()["state"] == "succeeded"
    go_back(platform, "0009")
    with transaction(platform.engine) as connection:
        kept = connection.execute(text("SELECT id::text, desired_state FROM workflow_requests"))
        desired = {each.id: each.desired_state for each in kept}
    assert first in desired
    assert not {addition.request_id, undo, under_way.request_id} & desired.keys()
    assert not [each for each in desired.values() if "addsSecrets" in each]
