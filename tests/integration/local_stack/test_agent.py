"""The GitOps agent against a real forge: what it publishes of good, broken and hostile repos."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from idp_kernel.wire.agent import AppliedSecret
from local_stack.agent.manifests import MAX_FILE_BYTES
from local_stack.agent.mirrors import MAX_ANCESTORS, MAX_TOTAL_BYTES
from tests.fixtures.agent import AgentServer, condition, ready, running_agent
from tests.fixtures.forge import ForgeServer, KnownPeople, running_forge
from tests.fixtures.git_client import Clone
from tests.fixtures.stack import private_directory

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: shop
data:
  greeting: hello
"""
EXTERNAL_SECRET = """\
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: app-key
  namespace: shop-dev
spec:
  refreshInterval: 1h
  secretStoreRef:
    name: openbao
    kind: ClusterSecretStore
  target:
    name: app-key
  data:
    - secretKey: value
      remoteRef:
        key: teams/payments/shop/dev/app-key
        property: value
        version: "3"
"""


@pytest.fixture(scope="module")
def agent(forge: ForgeServer) -> Iterator[AgentServer]:
    with (
        private_directory("idp-agent-") as home,
        running_agent(home, forge_url=forge.url, forge_token=forge.agent_token) as server,
    ):
        yield server


def new_repository(forge: ForgeServer, directory: Path) -> tuple[str, Clone]:
    name = f"appenv-{secrets.token_hex(6)}"
    created = forge.create_repository("payments", name)
    clone = Clone.make(directory / name, created["cloneUrl"], person="bot", token=forge.bot_token)
    return name, clone


def commit(clone: Clone, file: str, content: str) -> str:
    revision = clone.commit(file, content)
    pushed = clone.push("HEAD:main")
    assert pushed.returncode == 0, pushed.stderr
    return revision


def test_a_valid_revision_becomes_ready_with_its_secrets(
    forge: ForgeServer, agent: AgentServer, tmp_path: Path
) -> None:
    name, clone = new_repository(forge, tmp_path)
    empty = agent.wait_for("payments", name, lambda seen: ready(seen).status == "Unknown")
    assert ready(empty).reason == "Progressing"
    assert empty.observed_revision is None
    first = commit(clone, "manifests/app.yaml", f"{CONFIG_MAP}---\n{EXTERNAL_SECRET}---\n")
    seen = agent.wait_for_ready("payments", name, first, "True")
    assert ready(seen).reason == "ReconciliationSucceeded"
    key = "teams/payments/shop/dev/app-key"
    applied = AppliedSecret(name="app-key", remote_key=key, version=3, properties=("value",))
    assert seen.applied_secrets == (applied,)
    assert seen.ancestors == ()
    second = commit(clone, "README.md", "more")
    assert agent.wait_for_ready("payments", name, second, "True").ancestors == (first,)


def test_an_invalid_revision_says_file_object_and_error_and_keeps_what_was_applied(
    forge: ForgeServer, agent: AgentServer, tmp_path: Path
) -> None:
    name, clone = new_repository(forge, tmp_path)
    good = commit(clone, "manifests/secret.yaml", EXTERNAL_SECRET)
    applied = agent.wait_for_ready("payments", name, good, "True").applied_secrets
    bad = commit(clone, "manifests/app.yaml", CONFIG_MAP.replace("hello", "[1, 2]"))
    seen = agent.wait_for_ready("payments", name, bad, "False")
    assert ready(seen).reason == "ValidationFailed"
    assert ready(seen).message.startswith(
        "manifests/app.yaml: ConfigMap/default/shop: data.greeting: [1, 2] is not of type"
    )
    assert seen.applied_secrets == applied
    mended = commit(clone, "manifests/app.yaml", CONFIG_MAP)
    assert agent.wait_for_ready("payments", name, mended, "True").ancestors == (bad, good)


def test_links_are_not_followed(forge: ForgeServer, agent: AgentServer, tmp_path: Path) -> None:
    name, clone = new_repository(forge, tmp_path)
    (clone.path / "manifests").mkdir()
    (clone.path / "manifests" / "passwords.yaml").symlink_to("/etc/passwd")
    revision = commit(clone, "README.md", "x")
    seen = agent.wait_for_ready("payments", name, revision, "False")
    assert ready(seen).message == "manifests/passwords.yaml: it is no plain file"


def test_manifests_that_are_too_large_together_are_refused(
    forge: ForgeServer, agent: AgentServer, tmp_path: Path
) -> None:
    name, clone = new_repository(forge, tmp_path)
    (clone.path / "manifests").mkdir()
    fitting = MAX_TOTAL_BYTES // MAX_FILE_BYTES
    for number in range(fitting + 1):
        content = f"# {number:02}" + "x" * (MAX_FILE_BYTES - 4)
        (clone.path / f"manifests/{number:02}.yaml").write_text(content)
    revision = commit(clone, "README.md", "x")
    seen = agent.wait_for_ready("payments", name, revision, "False")
    limit = f"with it the manifests are larger than {MAX_TOTAL_BYTES // 1024} KiB"
    assert ready(seen).message == f"manifests/{fitting:02}.yaml: {limit}"


def test_a_merge_of_many_commits_hides_no_former_head(
    forge: ForgeServer, agent: AgentServer, tmp_path: Path
) -> None:
    name, clone = new_repository(forge, tmp_path)
    former = commit(clone, "manifests/app.yaml", CONFIG_MAP)
    clone.git("checkout", "-q", "-b", "side")
    for _ in range(MAX_ANCESTORS + 1):
        clone.git("commit", "-q", "--allow-empty", "-m", "More")
    clone.git("checkout", "-q", "-")
    clone.git("merge", "-q", "--no-ff", "-m", "Merge", "side")
    assert clone.push("HEAD:main").returncode == 0
    seen = agent.wait_for_ready("payments", name, clone.revision(), "True")
    assert seen.ancestors == (former,)


def test_a_force_pushed_and_a_deleted_repository_are_followed(
    forge: ForgeServer, agent: AgentServer, tmp_path: Path
) -> None:
    name, clone = new_repository(forge, tmp_path)
    first = commit(clone, "manifests/app.yaml", CONFIG_MAP)
    agent.wait_for_ready("payments", name, first, "True")
    clone.git("commit", "-q", "--amend", "-m", "Other")
    other = clone.revision()
    assert clone.push("HEAD:main", force=True).returncode == 0
    agent.wait_for_ready("payments", name, other, "True")
    path = f"/api/v1/repositories/payments/{name}"
    forge.call("DELETE", path, token=forge.bot_token).raise_for_status()
    while agent.get("payments", name).status_code != 404:
        assert agent.process.poll() is None


def test_one_broken_repository_stops_no_other(
    forge: ForgeServer, agent: AgentServer, tmp_path: Path
) -> None:
    broken, clone = new_repository(forge, tmp_path)
    revision = commit(clone, "manifests/app.yaml", CONFIG_MAP)
    agent.wait_for_ready("payments", broken, revision, "True")
    (forge.data_dir / f"repositories/payments/{broken}.git/refs/heads/main").write_text(
        "0123456789012345678901234567890123456789\n", encoding="ascii"
    )
    seen = agent.wait_for("payments", broken, lambda seen: ready(seen).reason == "FetchFailed")
    assert seen.observed_revision == revision
    assert forge.agent_token not in ready(seen).message
    name, other = new_repository(forge, tmp_path)
    agent.wait_for_ready("payments", name, commit(other, "manifests/app.yaml", CONFIG_MAP), "True")
    shutil.rmtree(forge.data_dir / f"repositories/payments/{broken}.git")


def test_all_repositories_are_listed_by_owner_and_name(
    forge: ForgeServer, agent: AgentServer, tmp_path: Path
) -> None:
    seen = []
    for _ in range(2):
        name, clone = new_repository(forge, tmp_path)
        revision = commit(clone, "manifests/secret.yaml", EXTERNAL_SECRET)
        seen.append(agent.wait_for_ready("payments", name, revision, "True"))
    listed = agent.list().items
    assert [(each.owner, each.name) for each in listed] == sorted(
        (each.owner, each.name) for each in listed
    )
    found = {each.name: each.applied_secrets for each in listed}
    assert {each.name: found[each.name] for each in seen} == {
        each.name: each.applied_secrets for each in seen
    }


def test_only_readers_with_the_token_are_answered(agent: AgentServer) -> None:
    assert agent.get("payments", "appenv-x", token=None).status_code == 401
    assert agent.get("payments", "appenv-x", token="wrong").status_code == 401
    assert agent.get_list(token="wrong").status_code == 401
    assert agent.get("payments", "appenv-x").json()["code"] == "no_such_reconciliation"
    assert agent.get("payments", "..%2f..%2fx").status_code in (404, 422)


def test_it_answers_without_its_forge_and_after_a_kill(people: KnownPeople, tmp_path: Path) -> None:
    with private_directory("idp-forge-") as forge_home, private_directory("idp-agent-") as home:
        with running_forge(forge_home, people) as forge:
            start = partial(running_agent, home, forge_url=forge.url, forge_token=forge.agent_token)
            name, clone = new_repository(forge, tmp_path)
            revision = commit(clone, "manifests/secret.yaml", EXTERNAL_SECRET)
            with start() as agent:
                before = agent.wait_for_ready("payments", name, revision, "True")
                agent.process.kill()
                agent.process.wait()
        with start() as again:
            seen = again.wait_for(
                "payments", name, lambda seen: condition(seen, "SourceAvailable").status == "False"
            )
            assert condition(seen, "SourceAvailable").reason == "FetchFailed"
            assert ready(seen) == ready(before)
            assert seen.observed_revision == revision
            assert seen.applied_secrets == before.applied_secrets
            with running_forge(forge_home, people, port=forge.port):
                back = again.wait_for(
                    "payments",
                    name,
                    lambda seen: condition(seen, "SourceAvailable").status == "True",
                )
                assert ready(back) == ready(before)
