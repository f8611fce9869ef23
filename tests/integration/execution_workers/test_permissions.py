"""What each provider needs to be allowed: told by those who have it, and by those who do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry
from psycopg import sql

from execution_workers.credentials import SecretFile
from execution_workers.ports import Permission
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.local_agent.client import LocalAgent
from execution_workers.providers.local_forge.client import ForgeClient
from execution_workers.providers.local_forge.forge import LocalForge
from execution_workers.providers.openbao.client import OpenBaoClient
from execution_workers.providers.openbao.logins import AppRoleLogin
from execution_workers.providers.openbao.permissions import NEEDED
from execution_workers.providers.openbao.settings import VersionEnd
from execution_workers.providers.openbao.store import OpenBaoStore
from execution_workers.providers.postgres.client import PostgresClient
from execution_workers.providers.postgres.issuer import PostgresIssuer
from idp_kernel.clock import SystemClock
from idp_kernel.errors import Unavailable
from idp_kernel.telemetry.metrics import downstream_errors
from idp_kernel.tokens import write_private_file
from idp_kernel.wire.worker import ProviderPermissions
from local_stack.openbao_setup import WORKERS_POLICY_HCL
from local_stack.postgres_setup import ISSUER_ROLE, connect_as_superuser
from tests.fixtures.stack import OpenBaoServer, free_port
from tests.integration.execution_workers.driver import Forge, World


class MakeStore(Protocol):
    def __call__(self, approle: Path, end: VersionEnd = VersionEnd.DESTROY) -> OpenBaoStore: ...


@pytest.fixture
def calls() -> ProviderCalls:
    return ProviderCalls(
        "provider", concurrency=4, wait_seconds=1, errors=downstream_errors(CollectorRegistry())
    )


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make_store(
    openbao_server: OpenBaoServer, calls: ProviderCalls, resources: ExitStack
) -> MakeStore:
    def make(approle: Path, end: VersionEnd = VersionEnd.DESTROY) -> OpenBaoStore:
        client = OpenBaoClient(
            openbao_server.url,
            AppRoleLogin(SecretFile(approle)),
            calls,
            SystemClock(),
            timeout_seconds=10,
        )
        return OpenBaoStore(resources.enter_context(closing(client)), end)

    return make


def granted(found: Sequence[Permission]) -> dict[str, bool | None]:
    return {each.name: each.granted for each in found}


def lacking(found: Sequence[Permission]) -> list[Permission]:
    return [each for each in found if not each.granted]


def forge_with(url: str, token: Path, calls: ProviderCalls, resources: ExitStack) -> LocalForge:
    client = ForgeClient(url, SecretFile(token), calls, timeout_seconds=10, git_timeout_seconds=10)
    return LocalForge(resources.enter_context(closing(client)), "ours")


def test_the_forges_bot_may_all(
    forge: Forge, home: Path, calls: ProviderCalls, resources: ExitStack
) -> None:
    found = forge_with(forge.url, home / "forge-bot.token", calls, resources).permissions()
    assert set(granted(found).values()) == {True}


def test_another_token_of_the_forge_may_not(
    forge: Forge, home: Path, calls: ProviderCalls, resources: ExitStack
) -> None:
    found = forge_with(forge.url, home / "forge-agent.token", calls, resources).permissions()
    (missing,) = lacking(found)
    assert "idp[gitops-agent]" in missing.how_to_grant


def test_a_provider_that_is_away_is_told_as_such(
    home: Path, calls: ProviderCalls, resources: ExitStack
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable):
        forge_with(url, home / "forge-bot.token", calls, resources).permissions()


@pytest.mark.parametrize(
    ("token", "expected"), [("gitops-agent-reader", True), ("forge-bot", False)]
)
def test_the_agents_reader(
    home: Path, agent_url: str, calls: ProviderCalls, token: str, expected: object
) -> None:
    with closing(
        LocalAgent(agent_url, SecretFile(home / f"{token}.token"), calls, timeout_seconds=10)
    ) as agent:
        found = agent.permissions()
    assert set(granted(found).values()) == {expected}


def test_the_workers_of_the_embedded_store_may_all(
    openbao_server: OpenBaoServer, make_store: MakeStore
) -> None:
    found = make_store(openbao_server.workers_file).permissions()
    assert lacking(found) == []
    assert len(found) == len(NEEDED) + 1


@pytest.mark.parametrize(
    ("granted", "end", "line"),
    [
        (
            WORKERS_POLICY_HCL.replace("kv/delete/teams", "kv/undelete/teams"),
            VersionEnd.DELETE,
            'path "kv/delete/teams/*" { capabilities = ["update"] }',
        ),
        (
            WORKERS_POLICY_HCL.replace('"create", "read", "update", "delete"', '"read"'),
            VersionEnd.DESTROY,
            'path "kv/metadata/teams/*" { capabilities = ["create", "delete", "read", "update"] }',
        ),
    ],
    ids=["the end of versions that can be brought back", "secrets as a whole"],
)
def test_what_a_policy_of_the_store_lacks_is_told_with_its_line(
    openbao_server: OpenBaoServer,
    make_store: MakeStore,
    tmp_path: Path,
    granted: str,
    end: VersionEnd,
    line: str,
) -> None:
    def ask(method: str, path: str, body: dict[str, object]) -> httpx.Response:
        return httpx.request(
            method,
            f"{openbao_server.url}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": openbao_server.root_token},
            trust_env=False,
        ).raise_for_status()

    ask("PUT", "sys/policies/acl/poorer", {"policy": granted})
    role = "auth/approle/role/poorer"
    ask("POST", role, {"token_policies": ["poorer"]})
    secret_id = ask("POST", f"{role}/secret-id", {}).json()["data"]["secret_id"]
    role_id = ask("GET", f"{role}/role-id", {}).json()["data"]["role_id"]
    approle = tmp_path / "poorer.json"
    write_private_file(approle, json.dumps({"role_id": role_id, "secret_id": secret_id}))
    (missing,) = lacking(make_store(approle, end).permissions())
    assert missing.how_to_grant == f"Add to the workers' policy: {line}."
    ask("PUT", "sys/policies/acl/poorer", {"policy": f"{granted}\n{line_of(missing)}"})
    assert lacking(make_store(approle, end).permissions()) == []


def line_of(missing: Permission) -> str:
    return missing.how_to_grant.partition(": ")[2].rstrip(".")


def test_the_issuers_role_may_all_until_something_is_taken_away(
    world: World, calls: ProviderCalls
) -> None:
    issuer = PostgresIssuer(
        PostgresClient(world.applications.issuer_url, None, calls, timeout_seconds=10)
    )
    assert lacking(issuer.permissions()) == []
    with closing(connect_as_superuser(world.applications.address, "postgres")) as superuser:
        for statement in (
            "ALTER ROLE {} NOCREATEROLE",
            "REVOKE CREATE ON DATABASE applications FROM {}",
            # With what it has granted meanwhile, for secrets of other tests.
            "REVOKE GRANT OPTION FOR CONNECT ON DATABASE applications FROM {} CASCADE",
            "ALTER ROLE {} RESET createrole_self_grant",
        ):
            superuser.execute(sql.SQL(statement).format(sql.Identifier(ISSUER_ROLE)))
            (missing,) = lacking(issuer.permissions())
            grant(superuser, missing)
            assert lacking(issuer.permissions()) == []


def grant(superuser: psycopg.Connection[tuple[object, ...]], missing: Permission) -> None:
    """Runs the statement that a person is told to run."""
    superuser.execute(missing.how_to_grant.removeprefix("Run: ").encode())


def doctor(world: World, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """The workers' own command, with their settings."""
    settings = {f"IDP_EXECUTION_WORKERS_{name}": value for name, value in changed.items()}
    return subprocess.run(
        [sys.executable, "-m", "execution_workers.doctor", *arguments],
        env={"PATH": os.environ["PATH"], **world.workers.environment, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("provider", "lines"), [("local", 2), ("openbao", 6), ("postgres", 4)])
def test_the_workers_command_tells_each_permission(world: World, provider: str, lines: int) -> None:
    ran = doctor(world, "--provider", provider)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["granted"] * lines


def test_the_workers_command_tells_what_is_missing_as_json(world: World, home: Path) -> None:
    other = str(home / "forge-agent.token")
    ran = doctor(world, "--provider", "local", "--json", FORGE_TOKEN_FILE=other)
    assert ran.returncode == 1
    found = ProviderPermissions.model_validate_json(ran.stdout)
    assert [each.granted for each in found.permissions] == [False, True]
    assert found.complaint is None


def test_the_workers_command_says_when_a_provider_cannot_be_asked(world: World) -> None:
    ran = doctor(world, "--provider", "openbao", OPENBAO_URL=f"http://127.0.0.1:{free_port()}")
    assert ran.returncode == 1
    assert ran.stdout.startswith("openbao: openbao did not log the workers in: ConnectError")


def test_the_workers_command_knows_the_names_of_all_providers(world: World) -> None:
    ran = doctor(world, "--provider", "cvs")
    assert ran.returncode == 2
    assert "openbao" in ran.stderr
