"""A team at a GitHub that lets nobody past its protections: what the platform commits there waits
for people, who find their way to the pull request, and goes on once they have merged it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from idp_kernel.tokens import write_private_file
from idp_kernel.wire.worker import appenv_repository_name
from idp_kernel.workflows import Step, WaitingReason
from tests.e2e import dagster_ui
from tests.e2e.conftest import PORT_OFFSET
from tests.e2e.faults import wait_no_longer
from tests.e2e.platform import Platform, Subject, eventually, running_platform
from tests.fixtures.vendors.argocd import TOKEN
from tests.fixtures.vendors.following import FollowingArgoCd
from tests.fixtures.vendors.github import APP_ID, INSTALLATION_ID, GitHubServer
from tests.fixtures.vendors.pulls import Pull

pytestmark = [pytest.mark.e2e, pytest.mark.endurance, pytest.mark.timeout(900)]

OFFSET = PORT_OFFSET + 700
ORGANISATION, TEAM = "acme", "merging"
MANIFEST = "manifests/external-secrets/app-key.yaml"


@dataclass
class AtGitHub:
    """A platform with a team whose repositories are at GitHub, and that team's people."""

    platform: Platform
    server: GitHubServer
    folder: Path
    subject: Subject
    """Onboarded there."""

    def pulls(self, appenv_id: str) -> list[Pull]:
        """The newest first."""
        pulls = self.server.pulls.get((ORGANISATION, appenv_repository_name(appenv_id)))
        return [] if pulls is None else pulls.all

    def merge(self, appenv_id: str) -> None:
        """Somebody merges the newest."""
        self.server.pulls[ORGANISATION, appenv_repository_name(appenv_id)].merge(self.folder)

    def link(self, appenv_id: str) -> str:
        """Where people find the newest."""
        name, number = appenv_repository_name(appenv_id), self.pulls(appenv_id)[0].number
        return f"{self.server.url}/{ORGANISATION}/{name}/pull/{number}"

    def manifest(self, appenv_id: str) -> str:
        """The binding on main."""
        return self.server.git.file(ORGANISATION, appenv_repository_name(appenv_id), MANIFEST)

    def waiting_request(self, request_id: str) -> dict[str, Any]:
        """It, once it waits for people."""

        def look() -> dict[str, Any] | None:
            request = self.platform.request(request_id)
            assert request["state"] not in ("succeeded", "failed"), request
            waits = request["waitingReason"] == WaitingReason.PULL_REQUEST_OPEN
            return request if waits else None

        return eventually(look, what=f"request {request_id} waits for a pull request")

    def request_of(self, appenv_id: str) -> str:
        """The newest request about the application environment."""
        path = f"/v1/workflow-requests?applicationEnvironmentId={appenv_id}"
        page = self.platform.ok("GET", path)
        return str(max(page["items"], key=lambda each: each["createdAt"])["id"])


@pytest.fixture(scope="module")
def at_github(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtGitHub]:
    folder = tmp_path_factory.mktemp("pull-requests")
    (folder / "clones").mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(GitHubServer(folder / "git"))
        agent = stack.enter_context(FollowingArgoCd(server))
        write_private_file(folder / "app.pem", server.key_pem)
        write_private_file(folder / "argocd.token", TOKEN)
        workers = {
            "GIT_FORGE_OF_TEAMS": json.dumps({TEAM: "github"}),
            "GITHUB_URL": server.url,
            "GITHUB_ORGANISATION": ORGANISATION,
            "GITHUB_APP_ID": str(APP_ID),
            "GITHUB_APP_INSTALLATION_ID": str(INSTALLATION_ID),
            "GITHUB_APP_KEY_FILE": str(folder / "app.pem"),
            "GITHUB_PULL_REQUESTS": "true",
            "GITOPS_AGENT_OF_TEAMS": json.dumps({TEAM: "argocd"}),
            "ARGOCD_URL": agent.url,
            "ARGOCD_TOKEN_FILE": str(folder / "argocd.token"),
        }
        settings = {f"IDP_EXECUTION_WORKERS_{name}": value for name, value in workers.items()}
        platform = stack.enter_context(running_platform(folder, OFFSET, **settings))
        subject = platform.new_subject(TEAM)
        yield AtGitHub(platform, server, folder / "clones", subject)


def told_by(at_github: AtGitHub, request: dict[str, Any], step: Step, link: str) -> None:
    """Wherever somebody looks, the pull request is a click away."""
    assert link in request["waitingFor"]
    shown = at_github.platform.idp("request", "show", request["id"], "--output", "json")
    assert link in json.loads(shown.stdout)["waitingFor"]
    run_id = request["attempts"][-1]["runId"]
    eventually(
        lambda: (step, link) in dagster_ui.links(at_github.platform, run_id),
        what="the run says so, after it said so to the control plane",
    )


def test_provisioning_and_rotation_go_on_by_themselves_once_somebody_has_merged(
    at_github: AtGitHub,
) -> None:
    platform = at_github.platform
    subject = platform.with_new_environment(at_github.subject)
    watch = ("env", "provision", subject.application_id, subject.environment, "--watch")
    with ThreadPoolExecutor(1) as executor:
        watched = executor.submit(platform.idp, *watch)
        appenv_id = eventually(
            lambda: appenv_of(platform, subject), what="the environment is declared"
        )
        waiting = at_github.waiting_request(at_github.request_of(appenv_id))
        link = at_github.link(appenv_id)
        told_by(at_github, waiting, Step.CREATE_SECRET_BINDINGS, link)
        at_github.merge(appenv_id)
        wait_no_longer(platform, waiting["id"])
        said = watched.result()
    assert said.returncode == 0, said.stdout + said.stderr
    assert link in said.stdout + said.stderr
    provisioned = platform.request(waiting["id"])
    assert provisioned["state"] == "succeeded"
    appenv = platform.ok("GET", f"/v1/application-environments/{appenv_id}")
    assert appenv["state"] == "Active"
    assert "version: '1'" in at_github.manifest(appenv_id)

    secret_id = appenv["secrets"][0]["id"]
    rotation = platform.rotate(secret_id, emergency=True, reason="it was in a screenshot")
    waiting = at_github.waiting_request(rotation["requestId"])
    told_by(at_github, waiting, Step.UPDATE_SECRET_BINDINGS, at_github.link(appenv_id))
    assert platform.secret(secret_id)["version"] == 1
    at_github.merge(appenv_id)
    wait_no_longer(platform, waiting["id"])
    rotated = platform.ended(rotation["requestId"])
    assert rotated["state"] == "succeeded", rotated
    assert platform.secret(secret_id)["version"] == 2
    assert "version: '2'" in at_github.manifest(appenv_id)
    assert len(at_github.pulls(appenv_id)) == 2, "one for each request"

    path = f"/v1/secrets/{secret_id}/revoke"
    revoked = platform.ok("POST", path, {"reason": "Nobody needs it any more"})
    waiting = at_github.waiting_request(revoked["requestId"])
    assert "The credential has ended already." in waiting["waitingFor"]
    assert live_versions(platform, appenv["secrets"][0]["storePath"]) == []
    at_github.merge(appenv_id)
    wait_no_longer(platform, waiting["id"])
    assert platform.ended(revoked["requestId"])["state"] == "succeeded"


def live_versions(platform: Platform, path: str) -> list[str]:
    """Those that the store has not destroyed."""
    answer = platform.openbao(f"kv/metadata/{path}", platform.openbao_root_token)
    versions = answer.json()["data"]["versions"]
    return [number for number, facts in versions.items() if not facts["destroyed"]]


def appenv_of(platform: Platform, subject: Subject) -> str | None:
    """The id of the subject's application environment, once there is one."""
    path = f"/v1/applications/{subject.application_id}/environments"
    page = platform.ok("GET", f"{path}?environment={subject.environment}")
    return next((each["id"] for each in page["items"]), None)


def test_one_that_is_closed_fails_the_request_with_what_to_do_next(at_github: AtGitHub) -> None:
    platform = at_github.platform
    accepted = platform.provision(platform.with_new_environment(at_github.subject))
    request_id, appenv_id = accepted["requestId"], accepted["applicationEnvironmentId"]
    at_github.waiting_request(request_id)
    (pull,) = at_github.pulls(appenv_id)
    pull.state = "closed"
    wait_no_longer(platform, request_id)
    failed = platform.ended(request_id)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "pull_request_not_merged")
    link = at_github.link(appenv_id)
    assert f"{link} was closed without being merged" in failed["error"]["message"]
    assert "Reopen it and have it merged, then retry" in failed["error"]["message"]
    pull.state = "open"
    at_github.merge(appenv_id)
    platform.ok("POST", f"/v1/workflow-requests/{request_id}/retry", {})
    assert platform.ended(request_id)["state"] == "succeeded"
    assert at_github.pulls(appenv_id) == [pull]
