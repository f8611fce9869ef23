"""A secret's end: nothing brings it, nobody gets in with it, nothing of it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from execution_workers.failpoints import (
    CREDENTIALS_ENDED_AT_ISSUER,
    LOGIN_DISABLED,
    after_provider,
)
from idp_kernel.wire.worker import (
    GIT_REPOSITORIES_ARCHIVE,
    GIT_REPOSITORIES_VERIFY_ARCHIVED,
    SECRETS_BINDINGS_REMOVE,
    SECRETS_END,
    SECRETS_VERIFY_ENDED,
)
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import (
    ARCHIVE,
    CODE_REPOSITORY,
    MANIFEST,
    REPOSITORY,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import (
    AppEnv,
    Json,
    Run,
    World,
    eventually,
    killed_at,
)
from tests.integration.execution_workers.rotating import Rotation, provisioned

pytestmark = pytest.mark.endurance

every_issuer = pytest.mark.parametrize("issuer", ["openbao", "postgres"])


@dataclass
class Ending:
    """One request that ends the secret of an application environment."""

    run: Run
    is_place_known: bool = True
    """Whether the platform knows where the store has it: not of what never came into use."""

    def again(self) -> Ending:
        """The same request, by its next run."""
        return Ending(self.run.with_(fence=self.run.fence + 1))

    def ask_to_remove(self) -> httpx.Response:
        return self._post(SECRETS_BINDINGS_REMOVE, Step.REMOVE_SECRET_BINDINGS)

    def ask_to_end(self) -> httpx.Response:
        return self._post(SECRETS_END, Step.END_CREDENTIALS)

    def end(self, effect: str = "created") -> Json:
        answer = assert_effect(self.ask_to_end(), effect)
        found: Json = answer["items"][0]["references"]
        return found

    def look(self, step: Step = Step.VERIFY_SECRETS_ENDED) -> list[bool]:
        """Whether each finding passed: the secret's own first."""
        answer = self._post(SECRETS_VERIFY_ENDED, step)
        assert answer.status_code == 200, answer.text
        return [each["passed"] for each in answer.json()["items"]]

    def _post(self, path: str, step: Step) -> httpx.Response:
        place = {} if self.is_place_known else {"storePath": ""}
        return self.run.post(path, self.run.appenv.rotated(**place), self.run.key(step))


def ending(world: World, appenv: AppEnv) -> Ending:
    return Ending(world.new_run(appenv))


@every_issuer
def test_its_consumers_lose_it_and_then_it_ends(world: World, issuer: str, tmp_path: Path) -> None:
    appenv = provisioned(world, AppEnv(issuer=issuer))
    content = world.store.content(appenv.secret_path)
    one = ending(world, appenv)
    eventually(lambda: _is_applied(world, appenv), what="the agent brings the secret")
    assert one.look(Step.RELEASE_CONSUMERS) == [False, False]

    removed = assert_effect(one.ask_to_remove(), "created")
    clone = world.forge.clone(appenv.team, appenv.repository_name, tmp_path)
    assert not (clone / MANIFEST).exists()
    head = world.forge.git("rev-parse", "HEAD", cwd=clone).strip()
    assert removed["items"][0]["references"] == {"revision": head}
    eventually(
        lambda: one.look(Step.RELEASE_CONSUMERS) == [False, True], what="the agent lets go of it"
    )
    assert world.store.live_versions(appenv.secret_path) == [1], "removing ends nothing"

    references = one.end()
    assert (references["storePath"], references["destroyedVersions"]) == (appenv.secret_path, 1)
    assert world.store.live_versions(appenv.secret_path) == []
    if issuer == "postgres":
        assert not world.applications.lets_in(content)
        assert world.applications.roles(appenv.secret_id) == {}
    assert one.look() == [True, True]


def _is_applied(world: World, appenv: AppEnv) -> bool:
    """Whether a look of somebody else sees that the agent brings it."""
    return ending(world, appenv).look(Step.RELEASE_CONSUMERS)[1] is False


def test_both_logins_of_a_rotated_secret_end(world: World) -> None:
    appenv = provisioned(world, AppEnv(issuer="postgres"))
    one = Rotation(world.new_run(appenv))
    one.issue()
    one.update()
    contents = [world.store.content(appenv.secret_path, version) for version in (1, 2)]
    assert all(world.applications.lets_in(each) for each in contents)
    assert ending(world, appenv).end()["destroyedVersions"] == 2
    assert not any(world.applications.lets_in(each) for each in contents)
    assert world.applications.roles(appenv.secret_id) == {}


def test_sessions_end_with_their_login(world: World) -> None:
    appenv = provisioned(world, AppEnv(issuer="postgres"))
    with world.applications.log_in(world.store.content(appenv.secret_path)) as session:
        assert ending(world, appenv).end()["endedSessions"] == 1
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


def test_data_keeps_a_login_from_going_but_not_from_ending(world: World) -> None:
    appenv = provisioned(world, AppEnv(issuer="postgres"))
    content = world.store.content(appenv.secret_path)
    with world.applications.log_in(content) as session:
        session.execute("CREATE TABLE orders (id int)")
    one = ending(world, appenv)
    assert one.end()["keptLogins"] == 1
    assert not world.applications.lets_in(content)
    assert list(world.applications.roles(appenv.secret_id).values()) == [False]
    assert one.look()[0] is True, "nobody is let in, though the role stands"


@pytest.mark.parametrize(
    "place",
    [LOGIN_DISABLED, CREDENTIALS_ENDED_AT_ISSUER, after_provider(Step.END_CREDENTIALS)],
)
def test_killed_anywhere_it_is_finished_by_a_repeat(world: World, place: str) -> None:
    appenv = provisioned(world, AppEnv(issuer="postgres"))
    content = world.store.content(appenv.secret_path)
    one = ending(world, appenv)
    killed_at(world, place, one.ask_to_end)
    assert one.again().ask_to_end().status_code == 200
    assert world.store.live_versions(appenv.secret_path) == []
    assert not world.applications.lets_in(content)
    assert world.applications.roles(appenv.secret_id) == {}


def test_one_that_never_came_into_use_is_looked_for_where_it_would_be(world: World) -> None:
    appenv = provisioned(world, AppEnv(issuer="postgres"))
    content = world.store.content(appenv.secret_path)
    one = Ending(world.new_run(appenv), is_place_known=False)
    assert one.look()[:1] == [False]
    assert_effect(one.ask_to_remove(), "created")
    references = one.end()
    assert (references["storePath"], references["destroyedVersions"]) == (appenv.secret_path, 1)
    assert world.store.live_versions(appenv.secret_path) == []
    assert not world.applications.lets_in(content)
    eventually(lambda: one.look() == [True, True], what="nobody has it")


def test_one_that_nothing_was_made_of_has_ended(world: World) -> None:
    one = Ending(world.new_run(AppEnv(issuer="postgres")), is_place_known=False)
    assert_effect(one.ask_to_remove(), "adopted")
    assert one.end("adopted")["destroyedVersions"] == 0
    assert one.look() == [True, True]


def test_what_is_gone_already_has_ended(world: World, tmp_path: Path) -> None:
    """A person removed the manifest, another the path in the store."""
    appenv = provisioned(world, AppEnv())
    clone = world.forge.clone(appenv.team, appenv.repository_name, tmp_path)
    world.forge.git("rm", "--quiet", MANIFEST, cwd=clone)
    world.forge.git("commit", "--quiet", "-m", "Away with it", cwd=clone)
    world.forge.git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=clone)
    path = f"kv/metadata/{appenv.secret_path}"
    assert world.store.request("DELETE", path).status_code == 204
    one = ending(world, appenv)
    answer = assert_effect(one.ask_to_remove(), "adopted")
    assert answer["events"] == [], "the request did not do it"
    head = world.forge.git("rev-parse", "HEAD", cwd=clone).strip()
    assert answer["items"][0]["references"] == {"revision": head}
    assert one.end("adopted")["destroyedVersions"] == 0
    eventually(lambda: one.look() == [True, True], what="nobody has it")


def test_a_repository_that_is_gone_binds_nothing(world: World) -> None:
    appenv = AppEnv()
    one = ending(world, appenv)
    assert assert_effect(one.ask_to_remove(), "adopted")["items"][0]["references"] == {}
    assert one.look() == [True, True]


def test_a_manifest_that_somebody_made_theirs_is_left_and_told(
    world: World, tmp_path: Path
) -> None:
    appenv = provisioned(world, AppEnv())
    repository = appenv.team, appenv.repository_name, tmp_path
    content = (world.forge.clone(*repository) / MANIFEST).read_text()
    other = content.replace("idp.example/binding-id", "bakery.example/binding-id")
    world.forge.push_file(*repository, MANIFEST, other)
    answer = ending(world, appenv).ask_to_remove()
    assert_problem(answer, 502, "foreign_owner")
    assert MANIFEST in answer.json()["detail"]


def test_an_archived_repository_keeps_everything_and_takes_no_more(
    world: World, tmp_path: Path
) -> None:
    appenv = provisioned(world, AppEnv())
    repository = appenv.team, appenv.repository_name, tmp_path
    world.forge.push_file(*repository, "docs/ours.md", "A team's own words\n")
    run = world.new_run(appenv)
    body = {"subject": appenv.subject, "repositories": [appenv.repository]}

    def is_over() -> bool:
        key = run.key(Step.VERIFY_NOTHING_RECONCILED)
        answer = run.post(GIT_REPOSITORIES_VERIFY_ARCHIVED, body, key)
        assert answer.status_code == 200, answer.text
        return all(each["passed"] for each in answer.json()["items"])

    assert not is_over()
    key = run.key(Step.ARCHIVE_ENVIRONMENT_REPOSITORY)
    assert_effect(run.post(GIT_REPOSITORIES_ARCHIVE, body, key), "created")
    eventually(is_over, what="the agent lets go of it")
    clone = world.forge.clone(*repository)
    assert (clone / "docs/ours.md").read_text() == "A team's own words\n"
    with pytest.raises(AssertionError, match="archived"):
        world.forge.push_file(*repository, "docs/ours.md", "More\n")
    later = world.new_run(appenv)
    key = later.key(Step.ARCHIVE_ENVIRONMENT_REPOSITORY)
    assert_effect(later.post(GIT_REPOSITORIES_ARCHIVE, body, key), "adopted")


def test_what_somebody_made_anew_between_two_runs_ends_too(world: World, tmp_path: Path) -> None:
    """A person writes a value, brings the manifest back, and opens another repository."""
    appenv = provisioned(world, AppEnv())
    clone = world.forge.clone(appenv.team, appenv.repository_name, tmp_path / "before")
    manifest = (clone / MANIFEST).read_text()
    one = ending(world, appenv)
    assert_effect(one.ask_to_remove(), "created")
    one.end()
    value = {"options": {"cas": 1}, "data": {"value": "written by hand"}}
    assert world.store.request("POST", f"kv/data/{appenv.secret_path}", value).is_success
    world.forge.push_file(
        appenv.team, appenv.repository_name, tmp_path / "anew", MANIFEST, manifest
    )
    assert_effect(one.ask_to_end(), "replayed")
    assert_effect(one.ask_to_remove(), "replayed")
    assert one.look()[0] is False

    later = one.again()
    assert_effect(later.ask_to_remove(), "created")
    assert later.end()["destroyedVersions"] == 1
    assert world.store.live_versions(appenv.secret_path) == []
    eventually(lambda: later.look() == [True, True], what="nobody has it")
    assert_effect(later.ask_to_end(), "replayed")


def test_a_repository_made_anew_between_two_runs_is_archived_too(world: World) -> None:
    appenv = AppEnv()
    REPOSITORY.do(world.new_run(appenv))
    run = world.new_run(appenv)
    assert_effect(ARCHIVE.do(run), "created")
    path = f"/api/v1/repositories/{appenv.team}/{appenv.repository_name}"
    assert world.forge.request("DELETE", path).status_code == 204
    assert_effect(REPOSITORY.do(world.new_run(appenv)), "created")
    assert_effect(ARCHIVE.do(run), "replayed")
    assert_effect(ARCHIVE.do(run.with_(fence=run.fence + 1)), "created")
    repository = world.forge.repository(appenv.team, appenv.repository_name)
    assert repository is not None
    assert repository["archived"]


def test_an_application_ends_with_all_its_repositories(world: World) -> None:
    appenv = AppEnv()
    CODE_REPOSITORY.do(world.new_run(appenv))
    REPOSITORY.do(world.new_run(appenv))
    run = world.new_run(appenv)
    body = {
        "subject": appenv.application_subject,
        "repositories": [appenv.code_repository, appenv.repository],
    }

    def seen() -> list[bool]:
        key = run.key(Step.VERIFY_APPLICATION_ENDED)
        answer = run.post(GIT_REPOSITORIES_VERIFY_ARCHIVED, body, key)
        assert answer.status_code == 200, answer.text
        return [each["passed"] for each in answer.json()["items"]]

    assert seen() == [False, False]
    key = run.key(Step.ARCHIVE_APPLICATION_REPOSITORIES)
    answer = run.post(GIT_REPOSITORIES_ARCHIVE, body, key)
    assert answer.status_code == 200, answer.text
    assert [each["effect"] for each in answer.json()["items"]] == ["created", "created"]
    eventually(lambda: seen() == [True, True], what="the agent lets go of what it applied")
    for name in ("shop", appenv.repository_name):
        repository = world.forge.repository(appenv.team, name)
        assert repository is not None
        assert repository["archived"]


def test_a_repository_that_is_gone_needs_no_archive(world: World) -> None:
    appenv = AppEnv()
    run = world.new_run(appenv)
    body = {"subject": appenv.subject, "repositories": [appenv.repository]}
    key = run.key(Step.ARCHIVE_ENVIRONMENT_REPOSITORY)
    assert_effect(run.post(GIT_REPOSITORIES_ARCHIVE, body, key), "adopted")
    key = run.key(Step.VERIFY_NOTHING_RECONCILED)
    (finding,) = run.post(GIT_REPOSITORIES_VERIFY_ARCHIVED, body, key).json()["items"]
    assert finding["passed"]
