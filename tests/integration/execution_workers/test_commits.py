"""What the platform commits: its own paths, in as few commits as it takes, and nobody else's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from idp_kernel.ids import new_id
from idp_kernel.wire.worker import APPENV_SECRET_BINDINGS
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    MANIFEST,
    PROTECTION,
    REPOSITORY,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import INSTALLATION, Json, Run


@pytest.fixture
def protected(run: Run) -> Run:
    """A run whose repository is there, its default branch protected."""
    assert_effect(REPOSITORY.do(run), "created")
    assert_effect(PROTECTION.do(run), "created")
    return run


def bind(run: Run, bindings: list[Json], **changes: Any) -> httpx.Response:
    body = {
        "subject": run.appenv.subject,
        "repository": run.appenv.repository,
        "bindings": bindings,
        **changes,
    }
    return run.post(APPENV_SECRET_BINDINGS, body, run.key(Step.CREATE_SECRET_BINDINGS))


def clone(run: Run, folder: Path) -> Path:
    return run.world.forge.clone(run.appenv.team, run.appenv.repository_name, folder)


def push_all(run: Run, files: Path, message: str) -> str:
    """Everything in the clone as a person's commit on main; its revision."""
    git = run.world.forge.git
    git("add", "-A", cwd=files)
    git("commit", "--quiet", "--allow-empty", "-m", message, cwd=files)
    git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=files)
    return git("rev-parse", "HEAD", cwd=files).strip()


def another_binding(run: Run, name: str) -> Json:
    return {**run.appenv.binding(), "bindingId": new_id(), "secretId": new_id(), "name": name}


def test_the_seed_says_what_the_repository_is(run: Run, tmp_path: Path) -> None:
    assert_effect(REPOSITORY.do(run), "created")
    files = clone(run, tmp_path)
    assert "# shop in dev" in (files / "README.md").read_text()
    assert f"* @{run.appenv.team}" in (files / "CODEOWNERS").read_text()
    ownership = yaml.safe_load((files / ".idp/ownership.yaml").read_text())
    assert ownership["applicationEnvironmentId"] == run.appenv.id
    assert ownership["installationId"] == INSTALLATION
    namespace = yaml.safe_load((files / "manifests/namespace.yaml").read_text())
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", "shop-dev")


def test_a_commit_says_who_made_it_for_what(protected: Run, tmp_path: Path) -> None:
    assert_effect(BINDINGS.do(protected), "created")
    files = clone(protected, tmp_path)
    message = protected.world.forge.git("log", "-1", "--format=%B", cwd=files)
    assert f"Idp-Request: {protected.request_id}" in message
    assert f"Idp-Entity: bindings/{protected.appenv.id}" in message
    assert f"Idp-Installation: {INSTALLATION}" in message


def test_the_manifest_pins_the_version(protected: Run, tmp_path: Path) -> None:
    assert_effect(bind(protected, [protected.appenv.binding(version=3)]), "created")
    manifest = yaml.safe_load((clone(protected, tmp_path) / MANIFEST).read_text())
    (data,) = manifest["spec"]["data"]
    assert data["remoteRef"] == {
        "key": protected.appenv.secret_path,
        "property": "value",
        "version": "3",
    }
    assert manifest["metadata"]["labels"]["idp.example/binding-id"] == protected.appenv.binding_id


def test_all_bindings_come_in_one_commit(protected: Run, tmp_path: Path) -> None:
    bindings = [another_binding(protected, name) for name in ("first", "second", "third")]
    assert_effect(bind(protected, bindings), "created")
    files = clone(protected, tmp_path)
    assert len(protected.world.forge.git("log", "--format=%H", cwd=files).split()) == 2
    folder = files / "manifests/external-secrets"
    assert sorted(path.name for path in folder.iterdir()) == [
        "first.yaml", "second.yaml", "third.yaml",
    ]  # fmt: skip


def test_no_bindings_need_no_commit(protected: Run, tmp_path: Path) -> None:
    answer = assert_effect(bind(protected, []), "adopted")
    head = protected.world.forge.git("rev-parse", "HEAD", cwd=clone(protected, tmp_path)).strip()
    assert answer["items"][0]["references"]["revision"] == head
    assert answer["events"] == []


def test_other_peoples_files_stay(protected: Run, tmp_path: Path) -> None:
    repository = protected.appenv.team, protected.appenv.repository_name, tmp_path
    protected.world.forge.push_file(*repository, "manifests/app/deployment.yaml", "a: 1\n")
    protected.world.forge.push_file(*repository, "README.md", "Ours now.\n")
    assert_effect(BINDINGS.do(protected), "created")
    later = protected.world.new_run(protected.appenv)
    assert_effect(REPOSITORY.do(later), "adopted")
    assert_effect(BINDINGS.undo(protected.with_(fence=2)), "undone")
    files = clone(protected, tmp_path)
    assert (files / "manifests/app/deployment.yaml").read_text() == "a: 1\n"
    assert (files / "README.md").read_text() == "Ours now.\n"
    assert not (files / MANIFEST).exists()


def test_another_version_is_another_commit_that_undo_does_not_remove(
    protected: Run, tmp_path: Path
) -> None:
    assert_effect(BINDINGS.do(protected), "created")
    later = protected.world.new_run(protected.appenv)
    assert_effect(bind(later, [protected.appenv.binding(version=2)]), "created")
    assert_effect(BINDINGS.undo(protected.with_(fence=2)), "kept")
    manifest = yaml.safe_load((clone(protected, tmp_path) / MANIFEST).read_text())
    assert manifest["spec"]["data"][0]["remoteRef"]["version"] == "2"


def test_a_revision_is_the_commit_that_has_the_bindings_not_the_newest(
    protected: Run, tmp_path: Path
) -> None:
    first = assert_effect(BINDINGS.do(protected), "created")
    protected.world.forge.push_file(
        protected.appenv.team, protected.appenv.repository_name, tmp_path, "docs/a.md", "a\n"
    )
    again = assert_effect(BINDINGS.do(protected.world.new_run(protected.appenv)), "adopted")
    assert again["items"][0]["references"] == first["items"][0]["references"]


def test_a_repository_with_other_peoples_commits_is_not_deleted(run: Run, tmp_path: Path) -> None:
    assert_effect(REPOSITORY.do(run), "created")
    run.world.forge.push_file(
        run.appenv.team, run.appenv.repository_name, tmp_path, "app.yaml", "a: 1\n"
    )
    assert_effect(REPOSITORY.undo(run), "kept")
    assert run.world.forge.repository(run.appenv.team, run.appenv.repository_name) is not None


def test_a_repository_with_other_peoples_commits_stays_protected(run: Run, tmp_path: Path) -> None:
    assert_effect(REPOSITORY.do(run), "created")
    run.world.forge.push_file(
        run.appenv.team, run.appenv.repository_name, tmp_path, "app.yaml", "a: 1\n"
    )
    assert_effect(PROTECTION.do(run), "created")
    assert_effect(PROTECTION.undo(run.with_(fence=2)), "kept")
    assert PROTECTION.times_done(run.world, run.appenv, tmp_path) == 1


def test_a_repository_is_needed_for_protection_and_bindings(run: Run) -> None:
    assert_problem(PROTECTION.do(run), 502, "repository_missing")
    assert_problem(BINDINGS.do(run), 502, "repository_missing")
    assert_effect(PROTECTION.undo(run), "absent")
    assert_effect(BINDINGS.undo(run), "absent")


@pytest.mark.parametrize(
    "path",
    [
        "teams/team-other/appenv/x/app-key",
        "sys/policies",
        "teams/{team}/../team-other/app-key",
        "teams/{team}//app-key",
        "teams/{team}",
    ],
)
def test_a_binding_leads_to_no_other_teams_secret(protected: Run, path: str) -> None:
    own = protected.appenv
    binding = {**own.binding(), "storePath": path.format(team=own.team)}
    assert_problem(bind(protected, [binding]), 403, "foreign_team")


def test_two_bindings_of_one_name_are_refused(protected: Run) -> None:
    twice = [another_binding(protected, "app-key"), another_binding(protected, "app-key")]
    assert_problem(bind(protected, twice), 422, "duplicate_binding")


def test_a_name_that_is_no_text_is_passed_over(protected: Run, tmp_path: Path) -> None:
    files = clone(protected, tmp_path)
    (files / "manifests" / os.fsdecode(b"caf\xe9.yaml")).write_text("a: 1\n")
    push_all(protected, files, "A Latin-1 name")
    assert_effect(bind(protected, [protected.appenv.binding()]), "created")


def test_a_trailer_with_our_separator_is_somebody_elses(protected: Run, tmp_path: Path) -> None:
    assert_effect(BINDINGS.do(protected), "created")
    files = clone(protected, tmp_path)
    content = (files / MANIFEST).read_text()
    (files / MANIFEST).unlink()
    push_all(protected, files, "Without")
    (files / MANIFEST).write_text(content)
    odd = push_all(protected, files, f"Back\n\nIdp-Installation: {INSTALLATION}\x1fx\n")
    answer = assert_effect(BINDINGS.do(protected.world.new_run(protected.appenv)), "adopted")
    assert answer["items"][0]["references"]["revision"] == odd
    assert_effect(BINDINGS.undo(protected), "kept")


def test_a_binding_that_came_by_a_merge_stands_at_the_merge(protected: Run, tmp_path: Path) -> None:
    assert_effect(BINDINGS.do(protected), "created")
    files, git = clone(protected, tmp_path), protected.world.forge.git
    git("checkout", "--quiet", "-b", "side", cwd=files)
    manifest = files / MANIFEST
    manifest.write_text(manifest.read_text().replace("version: '1'", "version: '2'"))
    git("commit", "--quiet", "-a", "-m", "Version 2", cwd=files)
    git("checkout", "--quiet", "main", cwd=files)
    git("merge", "--quiet", "--no-ff", "-m", "Merge branch side", "side", cwd=files)
    git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=files)
    later = protected.world.new_run(protected.appenv)
    answer = assert_effect(bind(later, [protected.appenv.binding(version=2)]), "adopted")
    merge = git("rev-parse", "HEAD", cwd=files).strip()
    assert answer["items"][0]["references"]["revision"] == merge


def test_links_in_a_repository_lead_nowhere(protected: Run, tmp_path: Path) -> None:
    """A managed folder that is a link to somewhere else is neither followed nor replaced."""
    files = clone(protected, tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (files / "manifests/external-secrets").symlink_to(outside)
    push_all(protected, files, "A link")
    assert_problem(bind(protected, [protected.appenv.binding()]), 502, "foreign_owner")
    assert list(outside.iterdir()) == []
