"""Somebody changes by hand what the platform made: the next check says so, for that thing alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.wire.forge import PROTECTION
from idp_kernel.wire.worker import appenv_repository_name
from tests.e2e import dagster_ui
from tests.e2e.oracle import BINDINGS, clone
from tests.e2e.platform import Platform, Subject, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

JOB = "application_environment_checks"
ASSET = "application_environments"
CHECKS = ("repository_protected", "bindings_present", "gitops_reconciled")


@dataclass(frozen=True)
class Standing:
    """An environment with a working copy of its repository, in the bot's hands."""

    platform: Platform
    subject: Subject
    appenv_id: str
    working_copy: Path

    @property
    def bot(self) -> str:
        return (self.platform.home / "keys" / "forge-bot.token").read_text().strip()

    @property
    def protection(self) -> str:
        name = appenv_repository_name(self.appenv_id)
        path = PROTECTION.format(owner=self.subject.team, name=name, branch="main")
        return self.platform.url(DEFAULT_PORTS.local_forge, path)

    def commit(self, message: str) -> None:
        """What the working copy holds now, on main past all protection."""
        for command in (["add", "-A"], ["commit", "-m", message], ["push", "origin", "HEAD:main"]):
            ran = self.platform.git(*command, token=self.bot, cwd=self.working_copy)
            assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def standing(platform: Platform, subject: Subject, tmp_path: Path) -> Standing:
    appenv = platform.provisioned(subject)
    bot = (platform.home / "keys" / "forge-bot.token").read_text().strip()
    return Standing(
        platform, subject, appenv["id"], clone(platform, subject, appenv["id"], tmp_path, bot)
    )


def _remove_protection(standing: Standing) -> Callable[[], None]:
    headers = {"Authorization": f"Bearer {standing.bot}"}
    client = standing.platform.client
    repository = client.get(standing.protection.partition("/protection/")[0], headers=headers)
    (protection,) = repository.json()["protections"]
    assert client.delete(standing.protection, headers=headers).status_code == 204

    def repair() -> None:
        put = client.put(standing.protection, json=protection, headers=headers)
        assert put.status_code == 200, put.text

    return repair


def _delete_binding(standing: Standing) -> Callable[[], None]:
    (binding,) = (standing.working_copy / BINDINGS).glob("*.yaml")
    content = binding.read_text()
    binding.unlink()
    standing.commit("Delete a binding")

    def repair() -> None:
        binding.write_text(content)
        standing.commit("Bring the binding back")

    return repair


def _break_manifest(standing: Standing) -> Callable[[], None]:
    broken = standing.working_copy / "manifests" / "odd.yaml"
    broken.write_text("apiVersion: example.test/v1\nkind: Spaceship\nmetadata:\n  name: odd\n")
    standing.commit("Add a spaceship")

    def repair() -> None:
        broken.unlink()
        standing.commit("Remove the spaceship")

    return repair


@pytest.mark.parametrize(
    ("check", "damage"),
    [
        ("repository_protected", _remove_protection),
        ("bindings_present", _delete_binding),
        ("gitops_reconciled", _break_manifest),
    ],
)
def test_a_check_fails_for_what_drifted_alone_and_passes_after_repair(
    platform: Platform,
    onboarded: Subject,
    standing: Standing,
    check: str,
    damage: Callable[[Standing], Callable[[], None]],
) -> None:
    other = platform.provisioned(platform.with_new_environment(onboarded))["id"]
    repair = damage(standing)
    _await_agent(standing)
    _check_all(platform)
    found = dagster_ui.latest_check(platform, ASSET, check, standing.appenv_id)
    assert not found["passed"], found
    assert found["expected"]
    assert found["found"]
    for each in CHECKS:
        assert dagster_ui.latest_check(platform, ASSET, each, other)["passed"], each
    subject = f"application_environment/{standing.appenv_id}"
    assert _events(platform, subject, "application_environment_drifted")

    repair()
    _await_agent(standing)
    _check_all(platform)
    for each in CHECKS:
        latest = dagster_ui.latest_check(platform, ASSET, each, standing.appenv_id)
        assert latest["passed"], latest
    assert _events(platform, subject, "application_environment_restored")


def test_a_finished_environment_is_in_the_catalog(platform: Platform, standing: Standing) -> None:
    query = """
    query ($asset: AssetKeyInput!, $partitions: [String!]) { assetOrError(assetKey: $asset) {
      ... on Asset { assetMaterializations(partitions: $partitions, limit: 1) {
        metadataEntries { label ... on TextMetadataEntry { text } ... on UrlMetadataEntry { url } }
    } } } }
    """
    asset = dagster_ui.ask(
        platform, query, asset={"path": [ASSET]}, partitions=[standing.appenv_id]
    )["assetOrError"]
    (materialization,) = asset["assetMaterializations"]
    told = {
        each["label"]: each.get("text") or each.get("url")
        for each in materialization["metadataEntries"]
    }
    appenv = platform.ok("GET", f"/v1/application-environments/{standing.appenv_id}")
    assert appenv["revision"] in told.values()
    assert appenv["repositoryUrl"] in told.values()


def _check_all(platform: Platform) -> None:
    """One run over everything, as a person starts it."""
    run_id = dagster_ui.launch(platform, {}, job=JOB)
    run = dagster_ui.ended_run(platform, run_id)
    assert run["status"] == "SUCCESS", dagster_ui.messages(run)


def _await_agent(standing: Standing) -> None:
    """Until the agent has looked at what is on main now."""
    name = appenv_repository_name(standing.appenv_id)
    head = standing.platform.git(
        "rev-parse", "HEAD", token=standing.bot, cwd=standing.working_copy
    ).stdout.strip()
    eventually(
        lambda: (
            standing.platform.reconciliation(standing.subject.team, name)["observedRevision"]
            == head
        ),
        what="the agent saw the change",
    )


def _events(platform: Platform, subject: str, event: str) -> list[dict[str, object]]:
    page = platform.ok("GET", f"/v1/events?subject={subject}&type={event}")
    events: list[dict[str, object]] = page["items"]
    return events
