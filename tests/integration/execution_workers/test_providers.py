"""Providers that refuse, are away or are too slow; and where the bot's token goes."""

from __future__ import annotations

import json
import secrets
import shutil
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from execution_workers.credentials import SecretFile
from execution_workers.ports import Attempt
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.forges import git as forge_git
from execution_workers.providers.forges.git import GitRemote, Overtaken, bearer
from execution_workers.providers.local_agent.client import LocalAgent
from execution_workers.providers.local_forge.client import ForgeClient
from execution_workers.providers.openbao.client import LOGIN_ROLES, OpenBaoClient
from execution_workers.providers.openbao.logins import AppRoleLogin
from execution_workers.providers.postgres.client import PostgresClient
from execution_workers.providers.postgres.issuer import PostgresIssuer
from idp_kernel.clock import SystemClock
from idp_kernel.errors import PlatformError, ProviderRejected, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.secret_store import SECRETS_MOUNT
from idp_kernel.services import LOOPBACK
from idp_kernel.telemetry.metrics import downstream_errors
from idp_kernel.tokens import write_private_file
from local_stack.openbao_setup import WORKERS_POLICY_HCL
from tests.fixtures.stack import free_port
from tests.integration.execution_workers.catalogue import REPOSITORY, assert_effect
from tests.integration.execution_workers.driver import Forge, Run, Store, World, answering

SHIM = """\
#!/bin/sh
{{ printf '%s\\n' "$@"; }} >> {arguments}
env >> {environment}
exec {git} "$@"
"""


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def calls(registry: CollectorRegistry) -> ProviderCalls:
    return ProviderCalls(
        "provider", concurrency=4, wait_seconds=1, errors=downstream_errors(registry)
    )


@pytest.fixture
def wrong_token(tmp_path: Path) -> SecretFile:
    write_private_file(tmp_path / "wrong.token", "not-the-bot")
    return SecretFile(tmp_path / "wrong.token")


@pytest.fixture
def bot_token(home: Path) -> SecretFile:
    return SecretFile(home / "forge-bot.token")


@pytest.fixture
def repository_url(run: Run) -> str:
    assert_effect(REPOSITORY.do(run), "created")
    return f"{run.world.forge.url}/{run.appenv.team}/{run.appenv.repository_name}.git"


def nowhere() -> str:
    return f"http://{LOOPBACK}:{free_port()}"


def counted(registry: CollectorRegistry, code: str, status: str) -> float | None:
    labels = {"target": "provider", "code": code, "status": status}
    return registry.get_sample_value("downstream_errors_total", labels)


def test_git_with_a_wrong_token(
    repository_url: str, wrong_token: SecretFile, calls: ProviderCalls, registry: CollectorRegistry
) -> None:
    with (
        pytest.raises(PlatformError) as refused,
        GitRemote(repository_url, bearer(wrong_token), calls, 20).copy("main"),
    ):
        pass
    # Without a control plane nobody can say that the token is nobody's: away, or denied.
    assert refused.value.code in ("forge_denied", "forge_failed", "forge_unreachable")
    assert counted(registry, refused.value.code, "none") == 1


def test_git_on_a_repository_that_is_not_there(
    forge: Forge, bot_token: SecretFile, calls: ProviderCalls
) -> None:
    remote = GitRemote(f"{forge.url}/team-x/appenv-none.git", bearer(bot_token), calls, 20)
    with pytest.raises(ProviderRejected) as refused, remote.copy("main"):
        pass
    assert refused.value.code == "forge_missing"


def test_git_when_the_forge_is_away(bot_token: SecretFile, calls: ProviderCalls) -> None:
    remote = GitRemote(f"{nowhere()}/team-x/appenv-x.git", bearer(bot_token), calls, 20)
    with pytest.raises(Unavailable) as away, remote.copy("main"):
        pass
    assert away.value.code == "forge_unreachable"


def test_git_reads_no_branch_but_the_wanted_one(
    run: Run, repository_url: str, bot_token: SecretFile, calls: ProviderCalls, tmp_path: Path
) -> None:
    git = run.world.forge.git
    clone = run.world.forge.clone(run.appenv.team, run.appenv.repository_name, tmp_path)
    git("commit", "--quiet", "--allow-empty", "-m", "Aside", cwd=clone)
    git("push", "--quiet", "origin", "HEAD:refs/heads/side", cwd=clone)
    side = git("rev-parse", "HEAD", cwd=clone).strip()
    remote = GitRemote(repository_url, bearer(bot_token), calls, 20)
    with remote.copy("main") as copy:
        with pytest.raises(PlatformError, match="git ls-tree"):
            copy.files(["README.md"], side)
        assert side in [commit.revision for commit in copy.all_commits()]
        assert copy.files(["README.md"], side)
    with remote.copy("none") as copy:
        assert copy.head is None


def test_git_that_takes_too_long(
    repository_url: str, bot_token: SecretFile, calls: ProviderCalls
) -> None:
    with (
        pytest.raises(Unavailable) as slow,
        GitRemote(repository_url, bearer(bot_token), calls, 0.0001).copy("main"),
    ):
        pass
    assert slow.value.code == "git_timeout"


def test_a_push_that_came_second_is_told_and_can_be_done_again(
    repository_url: str, bot_token: SecretFile, calls: ProviderCalls
) -> None:
    remote = GitRemote(repository_url, bearer(bot_token), calls, 20)
    with remote.copy("main") as first, remote.copy("main") as second:
        first.push(first.commit({"a": first.content_id(b"a")}, "A"))
        late = second.commit({"b": second.content_id(b"b")}, "B")
        with pytest.raises(Overtaken):
            second.push(late)
        second.fetch()
        second.push(second.commit({"b": second.content_id(b"b")}, "B"))
    with remote.copy("main") as now:
        assert set(now.files(["a", "b"])) == {"a", "b"}


def test_the_bots_token_is_in_gits_environment_and_not_in_its_arguments(
    repository_url: str,
    bot_token: SecretFile,
    calls: ProviderCalls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments, environment = tmp_path / "arguments", tmp_path / "environment"
    shim = tmp_path / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text(
        SHIM.format(arguments=arguments, environment=environment, git=shutil.which("git"))
    )
    shim.chmod(0o700)
    path = f"{shim.parent}:{forge_git._BARE_ENVIRONMENT['PATH']}"
    monkeypatch.setitem(forge_git._BARE_ENVIRONMENT, "PATH", path)
    monkeypatch.setenv("SOMETHING_PRIVATE", "of-the-service")
    with GitRemote(repository_url, bearer(bot_token), calls, 20).copy("main") as copy:
        copy.push(copy.commit({"a": copy.content_id(b"a")}, "A"))
    assert repository_url in arguments.read_text()
    assert bot_token.read() not in arguments.read_text()
    assert bot_token.read() in environment.read_text()
    assert "SOMETHING_PRIVATE" not in environment.read_text()


def test_the_forges_api_is_away(
    bot_token: SecretFile, calls: ProviderCalls, registry: CollectorRegistry
) -> None:
    forge = ForgeClient(nowhere(), bot_token, calls, timeout_seconds=2, git_timeout_seconds=2)
    with closing(forge) as client, pytest.raises(Unavailable) as away:
        client.repository("team-x", "appenv-x")
    assert away.value.code == "forge_unavailable"
    assert counted(registry, "forge_unavailable", "none") == 1


def test_the_agent_refuses_another_readers_token(
    agent_url: str, wrong_token: SecretFile, calls: ProviderCalls, registry: CollectorRegistry
) -> None:
    with (
        closing(LocalAgent(agent_url, wrong_token, calls, timeout_seconds=5)) as agent,
        pytest.raises(ProviderRejected) as refused,
    ):
        agent.reconciliation("team-x", "appenv-x")
    assert refused.value.code == "agent_denied"
    assert counted(registry, "agent_denied", "401") == 1


def test_the_agent_is_away(bot_token: SecretFile, calls: ProviderCalls) -> None:
    with (
        closing(LocalAgent(nowhere(), bot_token, calls, timeout_seconds=2)) as agent,
        pytest.raises(Unavailable) as away,
    ):
        agent.reconciliation("team-x", "appenv-x")
    assert away.value.code == "agent_unavailable"


@contextmanager
def openbao(url: str, approle: Path, calls: ProviderCalls) -> Iterator[OpenBaoClient]:
    clock = SystemClock()
    with closing(
        OpenBaoClient(url, AppRoleLogin(SecretFile(approle)), calls, clock, timeout_seconds=20)
    ) as client:
        yield client


def test_openbao_refuses_the_workers_credentials(
    store: Store, tmp_path: Path, calls: ProviderCalls, registry: CollectorRegistry
) -> None:
    approle = tmp_path / "approle.json"
    write_private_file(approle, json.dumps({"role_id": "nobody", "secret_id": "nothing"}))
    with (
        openbao(store.server.url, approle, calls) as client,
        pytest.raises(ProviderRejected) as refused,
    ):
        client.metadata("teams/x/y")
    assert refused.value.code == "openbao_rejected"
    assert counted(registry, "openbao_rejected", "400") == 1


def test_openbao_lets_the_workers_see_no_more_than_they_need(
    store: Store, calls: ProviderCalls
) -> None:
    with (
        openbao(store.server.url, store.server.workers_file, calls) as client,
        pytest.raises(ProviderRejected) as refused,
    ):
        client.policy("default")
    assert refused.value.code == "openbao_denied"


@pytest.mark.parametrize("answer", [b"<html>Sign in</html>", b"[]", b"\xff", b"[" * 5])
def test_an_answer_that_is_none_of_openbaos(
    store: Store, calls: ProviderCalls, registry: CollectorRegistry, answer: bytes
) -> None:
    with (
        answering(answer) as url,
        openbao(url, store.server.workers_file, calls) as client,
        pytest.raises(Unavailable) as unreadable,
    ):
        client.metadata("teams/x/y")
    assert unreadable.value.code == "openbao_unreadable"
    assert counted(registry, "openbao_unreadable", "200") == 1


def test_the_workers_policy_is_about_the_mounts_that_are_set_up() -> None:
    assert f'path "{SECRETS_MOUNT}/data/teams/*"' in WORKERS_POLICY_HCL
    assert f'path "{LOGIN_ROLES}/team-*"' in WORKERS_POLICY_HCL


def test_a_file_that_holds_no_approle(
    store: Store, wrong_token: SecretFile, calls: ProviderCalls
) -> None:
    with (
        openbao(store.server.url, wrong_token.path, calls) as client,
        pytest.raises(ProviderRejected) as refused,
    ):
        client.metadata("teams/x/y")
    assert refused.value.code == "credential_unreadable"
    assert wrong_token.read() not in str(refused.value)


def test_values_that_two_write_at_once_are_not_overwritten(
    store: Store, run: Run, calls: ProviderCalls
) -> None:
    path = run.appenv.secret_path
    with openbao(store.server.url, store.server.workers_file, calls) as client:
        assert client.write_value(path, {"value": "first"}, expected_version=0) == 1
        with pytest.raises(Unavailable) as second:
            client.write_value(path, {"value": "second"}, expected_version=0)
        with pytest.raises(Unavailable):
            client.write_metadata(path, {"whose": "ours"}, expected_version=5)
    assert second.value.code == "openbao_contended"
    assert store.value(path) == "first"


def test_an_error_on_the_way_holds_no_value(store: Store, calls: ProviderCalls) -> None:
    """Neither in its text nor in any exception it hangs on to."""
    value = secrets.token_hex()
    with (
        openbao(nowhere(), store.server.workers_file, calls) as client,
        pytest.raises(Unavailable) as away,
    ):
        client.write_value("teams/x/y", {"value": value}, expected_version=0)
    assert away.value.code == "openbao_unreachable"
    assert away.value.__context__ is None
    assert value not in "".join(traceback.format_exception(away.value))


def postgres(
    url: str | None, calls: ProviderCalls, consumer_url: str | None = None
) -> PostgresIssuer:
    return PostgresIssuer(PostgresClient(url, consumer_url, calls, timeout_seconds=5))


def test_without_an_issuers_database_a_login_is_refused_by_the_settings_name(
    calls: ProviderCalls,
) -> None:
    with pytest.raises(ProviderRejected, match="POSTGRES_ISSUER_URL") as refused:
        postgres(None, calls).draft(new_id(), {}, team="payments")
    assert refused.value.code == "issuer_not_configured"


def test_consumers_may_reach_the_database_elsewhere(world: World, calls: ProviderCalls) -> None:
    url = world.applications.issuer_url
    own = postgres(url, calls).draft(new_id(), {}, team="payments")
    address = world.applications.address
    assert (own["host"], own["port"], own["database"]) == (
        LOOPBACK, str(address.port), "applications",
    )  # fmt: skip
    elsewhere = postgres(url, calls, "postgresql://db.example.test/apps").draft(
        new_id(), {}, team="payments"
    )
    assert (elsewhere["host"], elsewhere["port"], elsewhere["database"]) == (
        "db.example.test", "5432", "apps",
    )  # fmt: skip


def test_both_logins_in_use_leave_none_for_another(world: World, calls: ProviderCalls) -> None:
    secret_id, issuer = new_id(), postgres(world.applications.issuer_url, calls)
    first = issuer.draft(secret_id, {}, team="payments")
    second = issuer.draft(secret_id, {1: first}, team="payments")
    assert first["username"] != second["username"]
    with pytest.raises(ProviderRejected) as refused:
        issuer.draft(secret_id, {1: first, 2: second}, team="payments")
    assert refused.value.code == "no_free_login"


def test_postgresql_is_away(calls: ProviderCalls, registry: CollectorRegistry) -> None:
    password = secrets.token_hex()
    issuer = postgres(f"postgresql+psycopg://x@{LOOPBACK}:{free_port()}/y", calls)
    for use in (
        lambda: issuer.sessions(new_id(), {"username": "x"}),
        lambda: issuer.verify({"username": "x", "password": password}, team="payments"),
    ):
        with pytest.raises(Unavailable) as away:
            use()
        assert away.value.code == "postgres_unreachable"
        assert password not in "".join(traceback.format_exception(away.value))
    assert counted(registry, "postgres_unreachable", "none") == 2


def test_an_issuer_without_its_password_is_told(
    world: World, calls: ProviderCalls, tmp_path: Path
) -> None:
    url = world.applications.issuer_url.partition("?")[0]
    with pytest.raises(ProviderRejected) as refused:
        postgres(f"{url}?passfile={tmp_path / 'none'}", calls).sessions(new_id(), {"username": "x"})
    assert refused.value.code == "postgres_denied"


def test_another_installations_logins_are_left_alone(world: World, calls: ProviderCalls) -> None:
    secret_id, issuer = new_id(), postgres(world.applications.issuer_url, calls)
    ours, theirs = (
        Attempt(installation, new_id(), lambda: None) for installation in ("ours", "theirs")
    )
    credential = issuer.draft(secret_id, {}, team="payments")
    issuer.install(secret_id, credential, 1, theirs, team="payments")
    for touch in (
        lambda: issuer.install(secret_id, credential, 2, ours, team="payments"),
        lambda: issuer.retire_others(secret_id, credential, 1, ours, team="payments"),
        lambda: issuer.remove(secret_id, ours),
    ):
        with pytest.raises(ProviderRejected) as refused:
            touch()
        assert refused.value.code == "foreign_owner"
    assert issuer.verify(credential, team="payments") is None


def test_logins_made_at_the_same_time_do_not_hinder_each_other(
    world: World, calls: ProviderCalls
) -> None:
    issuer = postgres(world.applications.issuer_url, calls)

    def made(secret_id: str) -> str | None:
        credential = issuer.draft(secret_id, {}, team="payments")
        issuer.install(
            secret_id, credential, 1, Attempt("ours", new_id(), lambda: None), team="payments"
        )
        return issuer.verify(credential, team="payments")

    with ThreadPoolExecutor(4) as executor:
        assert list(executor.map(made, [new_id() for _ in range(12)])) == [None] * 12
