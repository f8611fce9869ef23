"""Assets as they should stand, and what checks found: events on a change only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from control_plane.domain.rotation import DEFAULT_POLICIES
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import ASSET_APPLICATION_ENVIRONMENTS, ASSET_SECRETS, CHECK_RESULTS
from tests.fixtures.stack import FreshDatabase, PostgresServer
from tests.integration.control_plane.conftest import Platform, new_database
from tests.integration.control_plane.engine_run import REVISION
from tests.integration.control_plane.rotations import (
    SecretInUse,
    in_grace,
    rotating,
    rotation_of,
    secret_in_use,
    secrets_in_use,
    seen,
)
from tests.integration.control_plane.rows import counts

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def migrated(postgres_server: PostgresServer) -> FreshDatabase:
    """A database of its own: assets are those of the whole platform."""
    return new_database(postgres_server)


def assets(platform: Platform, path: str, limit: int = 200) -> list[Any]:
    """All of them, page by page."""
    engine, found, query = platform.engine_service, [], {"limit": limit}
    while True:
        page = engine.seen(path, **query)
        assert len(page["items"]) <= limit
        found.extend(page["items"])
        if page["nextCursor"] is None:
            return found
        query["cursor"] = page["nextCursor"]


def appenv_ids(found: list[Any]) -> list[str]:
    return [each["expected"]["subject"]["applicationEnvironmentId"] for each in found]


def secret_ids(found: list[Any]) -> list[str]:
    return [each["expected"]["secret"]["secretId"] for each in found]


def test_an_active_environment_is_an_asset_with_what_is_expected_of_it(
    platform: Platform,
) -> None:
    first, second = secrets_in_use(platform, "a-key", "b-key")
    platform.provision(platform.new_subject())
    found = assets(platform, ASSET_APPLICATION_ENVIRONMENTS)
    (asset,) = [
        each
        for each in found
        if each["expected"]["subject"]["applicationEnvironmentId"] == first.environment_id
    ]
    assert {each["state"] for each in found} == {"Active"}
    assert asset["url"] == "http://forge/r.git"
    expected = asset["expected"]
    assert (expected["revision"], expected["requiredApprovals"]) == (REVISION, 1)
    assert expected["repository"]["name"] == f"appenv-{first.environment_id}"
    assert [
        (each["secretId"], each["name"], each["storePath"], each["version"])
        for each in expected["bindings"]
    ] == [(first.id, "a-key", "kv/a-key", 3), (second.id, "b-key", "kv/b-key", 3)]


def test_a_rotation_moves_what_is_expected(platform: Platform) -> None:
    secret = secret_in_use(platform)
    in_grace(platform, secret)
    found = assets(platform, ASSET_APPLICATION_ENVIRONMENTS)
    (asset,) = [
        each["expected"]
        for each in found
        if each["expected"]["subject"]["applicationEnvironmentId"] == secret.environment_id
    ]
    assert asset["bindings"][0]["version"] == 4
    assert asset["revision"] == f"{4:040x}"


def test_a_secret_with_a_value_is_an_asset_with_its_longest_age(platform: Platform) -> None:
    secret = secret_in_use(platform, sensitivity="high", issuer="postgres")
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    (declared,) = platform.environment_of(request_id)["secrets"]
    found = assets(platform, ASSET_SECRETS)
    assert declared["id"] not in secret_ids(found)
    (asset,) = [each for each in found if each["expected"]["secret"]["secretId"] == secret.id]
    expected = asset["expected"]
    assert expected["longestAgeSeconds"] == DEFAULT_POLICIES["high"].longest_age.total_seconds()
    assert expected["longestAgeSeconds"] == (30 * 24 + 1 + 24) * 3600
    assert (expected["version"], expected["secret"]["issuer"]) == (3, "postgres")
    shown = seen(platform, secret)
    assert (asset["state"], asset["nextRotationAt"]) == ("Active", shown["nextRotationAt"])
    platform.admin.ok(f"/v1/secrets/{secret.id}/suspend")
    assert secret.id in secret_ids(assets(platform, ASSET_SECRETS))


def test_assets_come_in_pages_by_id_none_twice(platform: Platform) -> None:
    for _ in range(3):
        secrets_in_use(platform, "a-key", "b-key")
    for path, ids in (
        (ASSET_APPLICATION_ENVIRONMENTS, appenv_ids),
        (ASSET_SECRETS, secret_ids),
    ):
        everything = ids(assets(platform, path))
        assert everything == sorted(set(everything))
        assert ids(assets(platform, path, limit=1)) == everything
        too_many = platform.engine_service.get(path, limit=201)
        assert too_many.status_code == 422
        odd = platform.engine_service.get(path, cursor="!")
        assert (odd.status_code, odd.json()["code"]) == (422, "cursor_invalid")


# ── results ──────────────────────────────────────────────────────────────────────────────────


def finding(id_: str, *, passed: bool, found: str = "as found") -> dict[str, Any]:
    return {"id": id_, "passed": passed, "expected": "as wanted", "found": found}


def results(check: str, findings: Sequence[Any], read_at: datetime) -> dict[str, Any]:
    return {"check": check, "readAt": read_at.isoformat(), "findings": findings}


def tell(platform: Platform, check: str, *findings: Any) -> list[str]:
    """The things that changed, of a check that began just now and left nothing out."""
    kept = tell_later(platform, check, platform.clock.now(), *findings)
    assert kept["leftOut"] == []
    return list(kept["changed"])


def tell_later(platform: Platform, check: str, read_at: datetime, *findings: Any) -> Any:
    """The whole answer to a check that read at that time what is expected."""
    return platform.engine_service.ok(CHECK_RESULTS, results(check, findings, read_at))


def events_of(platform: Platform, subject: str) -> list[Any]:
    return list(platform.admin.seen("/v1/events", subject=subject)["items"])


def test_a_drift_is_told_once_and_so_is_its_repair(platform: Platform) -> None:
    secret = secret_in_use(platform)
    id_, check = secret.environment_id, "repository_protected"
    before = len(events_of(platform, f"application_environment/{id_}"))
    assert tell(platform, check, finding(id_, passed=True)) == []
    assert tell(platform, check, finding(id_, passed=False, found="no protection")) == [id_]
    assert tell(platform, check, finding(id_, passed=False)) == []
    assert tell(platform, check, finding(id_, passed=True)) == [id_]
    assert tell(platform, check, finding(id_, passed=True)) == []
    told = events_of(platform, f"application_environment/{id_}")[before:]
    assert [event["type"] for event in told] == [
        "application_environment_drifted", "application_environment_restored",
    ]  # fmt: skip
    assert told[0]["data"] == {
        "check": check, "expected": "as wanted", "found": "no protection",
    }  # fmt: skip
    assert told[0]["team"] == secret.subject.team


def test_a_first_result_that_fails_is_a_drift(platform: Platform) -> None:
    secret = secret_in_use(platform)
    assert tell(platform, "bindings_present", finding(secret.environment_id, passed=False)) == [
        secret.environment_id
    ]


def test_checks_of_one_thing_are_kept_apart(platform: Platform) -> None:
    id_ = secret_in_use(platform).environment_id
    assert tell(platform, "bindings_present", finding(id_, passed=False)) == [id_]
    assert tell(platform, "gitops_reconciled", finding(id_, passed=True)) == []
    assert tell(platform, "gitops_reconciled", finding(id_, passed=False)) == [id_]
    assert tell(platform, "bindings_present", finding(id_, passed=True)) == [id_]


def test_an_overdue_secret_is_told_and_its_return(platform: Platform) -> None:
    secret, check = secret_in_use(platform), "secret_within_policy"
    tell(platform, check, finding(secret.id, passed=False))
    tell(platform, check, finding(secret.id, passed=True))
    told = [event["type"] for event in events_of(platform, f"secret/{secret.id}")]
    assert told == ["secret_overdue", "secret_within_policy"]


def test_one_failure_among_five_hundred_is_the_only_event(platform: Platform) -> None:
    secret = secret_in_use(platform)
    strangers = [finding(new_id(), passed=False) for _ in range(498)]
    mine = [finding(secret.environment_id, passed=True)]
    before = counts(platform)
    assert tell(platform, "repository_protected", *strangers, *mine) == []
    after = counts(platform)
    assert after["check_results"] == before["check_results"] + 1
    assert after["outbox_events"] == before["outbox_events"]
    failing = finding(secret.environment_id, passed=False)
    assert tell(platform, "repository_protected", *strangers, failing) == [secret.environment_id]


def test_what_a_request_is_at_work_on_is_not_judged(platform: Platform) -> None:
    secret, other = secrets_in_use(platform, "a-key", "b-key")
    pinned = finding(secret.environment_id, passed=False, found="another version is pinned")
    run = rotating(platform, rotation_of(platform, secret))
    before, later = counts(platform), platform.clock.now()
    kept = tell_later(platform, "bindings_present", later, pinned, finding(new_id(), passed=False))
    assert kept == {"changed": [], "leftOut": [secret.environment_id]}
    of_secrets = [finding(each.id, passed=True) for each in (secret, other)]
    kept = tell_later(platform, "secret_within_policy", later, *of_secrets)
    assert kept == {"changed": [], "leftOut": [secret.id]}
    after = counts(platform)
    assert after["check_results"] == before["check_results"] + 1
    assert after["outbox_events"] == before["outbox_events"]
    assert tell(platform, "secret_within_policy", finding(other.id, passed=False)) == [other.id]
    run.do_all()
    run.end_phase()
    assert tell(platform, "bindings_present", pinned) == [secret.environment_id]


def end_first_phase(platform: Platform, secret: SecretInUse) -> None:
    in_grace(platform, secret)


def fail_before_the_switch(platform: Platform, secret: SecretInUse) -> None:
    run = rotating(platform, rotation_of(platform, secret))
    run.fail(run.steps[0], retryable=False)


@pytest.mark.parametrize("happens", [end_first_phase, fail_before_the_switch])
def test_what_a_request_was_at_work_on_since_the_check_began_is_not_judged(
    platform: Platform, happens: Callable[[Platform, SecretInUse], None]
) -> None:
    secret, other = secrets_in_use(platform, "a-key", "b-key")
    environment = finding(secret.environment_id, passed=False, found="another version is pinned")
    began = platform.clock.now()
    happens(platform, secret)
    before = counts(platform)
    for check in ("bindings_present", "gitops_reconciled", "repository_protected"):
        kept = tell_later(platform, check, began, environment)
        assert kept == {"changed": [], "leftOut": [secret.environment_id]}
    overdue = [finding(each.id, passed=False) for each in (secret, other)]
    kept = tell_later(platform, "secret_within_policy", began, *overdue)
    assert kept == {"changed": [other.id], "leftOut": [secret.id]}
    after = counts(platform)
    assert after["check_results"] == before["check_results"] + 1
    assert after["outbox_events"] == before["outbox_events"] + 1
    assert tell(platform, "bindings_present", environment) == [secret.environment_id]


def test_what_was_provisioned_since_the_check_began_is_not_judged(platform: Platform) -> None:
    began = platform.clock.now()
    secret = secret_in_use(platform)
    of_environment = finding(secret.environment_id, passed=False)
    kept = tell_later(platform, "repository_protected", began, of_environment)
    assert kept == {"changed": [], "leftOut": [secret.environment_id]}
    of_secret = finding(secret.id, passed=False)
    kept = tell_later(platform, "secret_within_policy", began, of_secret)
    assert kept == {"changed": [], "leftOut": [secret.id]}


def test_a_secret_is_no_environment(platform: Platform) -> None:
    secret = secret_in_use(platform)
    before = counts(platform)["check_results"]
    assert tell(platform, "repository_protected", finding(secret.id, passed=False)) == []
    assert (
        tell(platform, "secret_within_policy", finding(secret.environment_id, passed=False)) == []
    )
    assert counts(platform)["check_results"] == before


@pytest.mark.usefixtures("patience")
def test_the_same_news_at_once_is_one_event(platform: Platform) -> None:
    secrets = [secret_in_use(platform) for _ in range(2)]
    engine = platform.engine_service
    findings = [finding(each.environment_id, passed=False) for each in secrets]
    read_at = platform.clock.now()

    def ask(number: int) -> Any:
        ordered = findings if number % 2 else findings[::-1]
        body = results("gitops_reconciled", ordered, read_at)
        return engine.post(CHECK_RESULTS, body).json()["changed"]

    with ThreadPoolExecutor(16) as pool:
        changed = [id_ for answer in pool.map(ask, range(16)) for id_ in answer]
    assert sorted(changed) == sorted(each.environment_id for each in secrets)


@pytest.mark.parametrize(
    "body",
    [
        results("nothing", [], NOW),
        results("gitops_reconciled", [{"id": "x"}], NOW),
        results("gitops_reconciled", [finding(new_id(), passed=True)] * 501, NOW),
        {"check": "gitops_reconciled", "findings": []},
    ],
)
def test_results_that_make_no_sense_are_refused(platform: Platform, body: Any) -> None:
    assert platform.engine_service.post(CHECK_RESULTS, body).status_code == 422


def test_what_was_found_may_be_long_and_odd(platform: Platform) -> None:
    id_ = secret_in_use(platform).environment_id
    odd = finding(id_, passed=False, found="x\x00" + "long " * 10_000)
    assert tell(platform, "bindings_present", odd) == [id_]
    last = events_of(platform, f"application_environment/{id_}")[-1]
    assert len(last["data"]["found"]) <= 2000
