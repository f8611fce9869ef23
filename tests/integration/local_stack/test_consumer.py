"""The consumer on a real forge, agent, store and database: it uses what bindings bring."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from idp_kernel.wire.worker import CREDENTIAL_PROPERTIES, CredentialIssuerName
from local_stack.postgres_setup import (
    PostgresAddress,
    ensure_roles_and_databases,
    wait_until_ready,
)
from tests.fixtures.agent import AgentServer, running_agent
from tests.fixtures.consumer import ConsumerServer, running_consumer
from tests.fixtures.forge import ForgeServer
from tests.fixtures.git_client import Clone
from tests.fixtures.logins import IssuedLogin, Issuer, issuer_of
from tests.fixtures.stack import (
    OpenBaoServer,
    PostgresServer,
    child,
    free_port,
    private_directory,
)

BINDING = "orders-db"


@pytest.fixture(scope="module")
def agent(forge: ForgeServer) -> Iterator[AgentServer]:
    with (
        private_directory("idp-agent-") as home,
        running_agent(home, forge_url=forge.url, forge_token=forge.agent_token) as server,
    ):
        yield server


@contextmanager
def consuming(agent_url: str, openbao: OpenBaoServer) -> Iterator[ConsumerServer]:
    with (
        private_directory("idp-consumer-") as home,
        running_consumer(
            home,
            agent_url=agent_url,
            openbao_url=openbao.url,
            approle_file=openbao.address.consumer_file,
        ) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def consumer(agent: AgentServer, openbao_server: OpenBaoServer) -> Iterator[ConsumerServer]:
    with consuming(agent.url, openbao_server) as server:
        yield server


@pytest.fixture
def issuer(postgres_server: PostgresServer) -> Iterator[Issuer]:
    with issuer_of(postgres_server.ensure_platform()) as found:
        yield found


@dataclass(frozen=True)
class BoundSecret:
    """A secret in the store and a repository whose binding pins a version of it."""

    openbao: OpenBaoServer
    clone: Clone
    repository: str
    path: str

    @classmethod
    def make(cls, forge: ForgeServer, openbao: OpenBaoServer, directory: Path) -> BoundSecret:
        name = f"appenv-{secrets.token_hex(6)}"
        url = forge.create_repository("payments", name)["cloneUrl"]
        clone = Clone.make(directory / name, url, person="bot", token=forge.bot_token)
        return cls(openbao, clone, name, f"teams/payments/appenv/{name}/{BINDING}")

    def store(self, properties: dict[str, str], path: str | None = None) -> int:
        """Writes a version; answers its number."""
        answer = httpx.post(
            f"{self.openbao.url}/v1/kv/data/{path or self.path}",
            json={"data": {**properties, "idp_request_id": "some-request"}},
            headers={"X-Vault-Token": self.openbao.root_token},
            trust_env=False,
        )
        return int(answer.raise_for_status().json()["data"]["version"])

    def pin(
        self,
        version: int,
        *,
        path: str | None = None,
        properties: tuple[str, ...] = CREDENTIAL_PROPERTIES[CredentialIssuerName.POSTGRES],
    ) -> None:
        """Commits the binding at a version."""
        entries = "".join(
            f'    - secretKey: {each}\n      remoteRef: {{key: "{path or self.path}", '
            f'property: {each}, version: "{version}"}}\n'
            for each in properties
        )
        self.clone.commit(
            f"manifests/{BINDING}.yaml",
            "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\n"
            f"metadata: {{name: {BINDING}}}\nspec:\n"
            "  secretStoreRef: {name: openbao, kind: ClusterSecretStore}\n"
            f"  data:\n{entries}",
        )
        pushed = self.clone.push("HEAD:main")
        assert pushed.returncode == 0, pushed.stderr

    def unbind(self) -> None:
        self.clone.git("rm", "-q", f"manifests/{BINDING}.yaml")
        self.clone.git("commit", "-q", "-m", "Unbind")
        assert self.clone.push("HEAD:main").returncode == 0


@pytest.fixture
def new_bound(
    forge: ForgeServer, openbao_server: OpenBaoServer, tmp_path: Path
) -> Iterator[Callable[[], BoundSecret]]:
    """Makes bound secrets whose repositories are gone after the test, so that nobody uses them."""
    made: list[BoundSecret] = []

    def make() -> BoundSecret:
        made.append(BoundSecret.make(forge, openbao_server, tmp_path))
        return made[-1]

    yield make
    for each in made:
        path = f"/api/v1/repositories/payments/{each.repository}"
        forge.call("DELETE", path, token=forge.bot_token).raise_for_status()


@pytest.fixture
def bound(new_bound: Callable[[], BoundSecret]) -> BoundSecret:
    return new_bound()


@pytest.fixture
def issued(issuer: Issuer) -> IssuedLogin:
    return issuer.issue(issuer.new_group(), "a")


def test_it_logs_in_with_what_the_binding_brings_and_uses_it(
    consumer: ConsumerServer, bound: BoundSecret, issued: IssuedLogin
) -> None:
    before = consumer.logins()["success"]
    bound.pin(bound.store(issued.properties))
    seen = consumer.wait_for(bound.repository, BINDING, lambda seen: seen.logins >= 5)
    assert (seen.owner, seen.version, seen.refused, seen.problem) == ("payments", 1, 0, None)
    assert seen.last_login_at is not None
    with closing(issued.log_in()) as connection:
        (row,) = connection.execute("SELECT binding, logins >= 5 FROM consumption").fetchall()
    assert row == (BINDING, True)
    assert consumer.logins()["success"] >= before + 5


def test_it_moves_to_a_new_version_without_a_refused_login(
    consumer: ConsumerServer, bound: BoundSecret, issuer: Issuer, issued: IssuedLogin
) -> None:
    logins = [issued, issuer.issue(issued.group, "b")]
    bound.pin(bound.store(logins[0].properties))
    consumer.wait_for_version(bound.repository, BINDING, 1)
    for version in range(2, 6):
        old, new = logins[version % 2], logins[(version + 1) % 2]
        issuer.execute("ALTER ROLE {} LOGIN", new.role)
        issuer.set_password(new)
        assert bound.store(new.properties) == version
        assert issuer.sessions(old), "a session always stands"
        bound.pin(version)
        reached = consumer.wait_for_version(bound.repository, BINDING, version)
        while issuer.sessions(old):
            assert consumer.process.poll() is None
        issuer.end(old)
        seen = consumer.wait_for_more_logins(bound.repository, BINDING, reached)
        assert (seen.refused, seen.problem) == (0, None)


def test_refused_logins_are_counted_and_told_until_they_work_again(
    consumer: ConsumerServer, bound: BoundSecret, issuer: Issuer, issued: IssuedLogin
) -> None:
    bound.pin(bound.store(issued.properties))
    consumer.wait_for(bound.repository, BINDING, lambda seen: seen.logins > 0)
    refused_before = consumer.logins()["refused"]
    issuer.end(issued)
    seen = consumer.wait_for(bound.repository, BINDING, lambda seen: seen.refused >= 3)
    assert seen.problem == "The database refused the login. Version 1 was used."
    assert consumer.logins()["refused"] >= refused_before + 3
    issuer.execute("ALTER ROLE {} LOGIN", issued.role)
    issuer.set_password(issued)
    back = consumer.wait_for(bound.repository, BINDING, lambda now: now.logins > seen.logins)
    assert back.problem is None


def test_a_version_that_is_not_there_is_told_and_the_last_one_stays_in_use(
    consumer: ConsumerServer, bound: BoundSecret, issued: IssuedLogin
) -> None:
    bound.pin(bound.store(issued.properties))
    consumer.wait_for_version(bound.repository, BINDING, 1)
    bound.pin(9)
    told = consumer.wait_for(bound.repository, BINDING, lambda seen: seen.problem is not None)
    assert told.problem == f"The store has no version 9 of {bound.path}."
    more = consumer.wait_for_more_logins(bound.repository, BINDING, told)
    assert (more.version, more.refused) == (1, 0)
    bound.pin(1)
    consumer.wait_for(bound.repository, BINDING, lambda seen: seen.problem is None)


def test_a_binding_that_is_gone_is_consumed_no_more(
    consumer: ConsumerServer, bound: BoundSecret, issuer: Issuer, issued: IssuedLogin
) -> None:
    bound.pin(bound.store(issued.properties))
    consumer.wait_for_version(bound.repository, BINDING, 1)
    bound.unbind()
    while consumer.consumed(bound.repository, BINDING) is not None or issuer.sessions(issued):
        assert consumer.process.poll() is None


def test_it_leaves_alone_what_it_cannot_or_may_not_use(
    consumer: ConsumerServer, new_bound: Callable[[], BoundSecret], issued: IssuedLogin
) -> None:
    value, foreign, odd, last = (new_bound() for _ in range(4))
    value.pin(value.store({"value": "no login"}), properties=("value",))
    path = f"teams/search/appenv/{foreign.repository}/{BINDING}"
    foreign.pin(foreign.store(issued.properties, path), path=path)
    odd.pin(odd.store({**issued.properties, "port": "no port"}))
    told = consumer.wait_for(odd.repository, BINDING, lambda seen: seen.problem is not None)
    assert told.problem == f"There is no database login in version 1 of {odd.path}."
    assert "no port" not in consumer.log
    # Pushed after the others, so these have been seen when this one is.
    last.pin(last.store(issued.properties))
    consumer.wait_for(last.repository, BINDING, lambda seen: seen.logins > 0)
    assert consumer.consumed(value.repository, BINDING) is None
    assert consumer.consumed(foreign.repository, BINDING) is None


def test_only_readers_with_the_token_are_answered(consumer: ConsumerServer) -> None:
    assert consumer.get(token=None).status_code == 401
    assert consumer.get(token="wrong").status_code == 401
    assert consumer.get().status_code == 200


def test_no_value_is_in_its_log_or_answers(
    consumer: ConsumerServer, bound: BoundSecret, issuer: Issuer, issued: IssuedLogin
) -> None:
    bound.pin(bound.store(issued.properties))
    consumer.wait_for(bound.repository, BINDING, lambda seen: seen.logins > 0)
    issuer.end(issued)
    consumer.wait_for(bound.repository, BINDING, lambda seen: seen.refused > 0)
    told = consumer.log + consumer.get().text
    assert bound.repository in consumer.log
    assert issued.password not in told
    assert issued.role not in told


@pytest.mark.endurance
def test_it_goes_on_without_the_agent_and_finds_it_again(
    forge: ForgeServer,
    openbao_server: OpenBaoServer,
    bound: BoundSecret,
    issuer: Issuer,
    issued: IssuedLogin,
) -> None:
    with private_directory("idp-agent-") as home:
        start = partial(running_agent, home, forge_url=forge.url, forge_token=forge.agent_token)
        with start() as agent, consuming(agent.url, openbao_server) as consumer:
            bound.pin(bound.store(issued.properties))
            consumer.wait_for_version(bound.repository, BINDING, 1)
            agent.process.kill()
            agent.process.wait()
            told = consumer.wait_for(
                bound.repository, BINDING, lambda seen: seen.problem is not None
            )
            assert "agent cannot be asked" in str(told.problem)
            consumer.wait_for_more_logins(bound.repository, BINDING, told)
            bound.pin(bound.store(issuer.issue(issued.group, "b").properties))
            with start(port=agent.port):
                back = consumer.wait_for_version(bound.repository, BINDING, 2)
                assert (back.refused, back.problem) == (0, None)


@pytest.mark.endurance
def test_a_database_that_is_away_refuses_nobody(
    agent: AgentServer, openbao_server: OpenBaoServer, bound: BoundSecret
) -> None:
    with private_directory("idp-postgres-") as home:
        address = PostgresAddress(free_port(), home / "keys")
        with consuming(agent.url, openbao_server) as consumer:
            with own_postgres(home, address), issuer_of(address) as issuer:
                issued = issuer.issue(issuer.new_group(), "a")
                bound.pin(bound.store(issued.properties))
                consumer.wait_for(bound.repository, BINDING, lambda seen: seen.logins > 0)
            away = "The database cannot be reached. Version 1 was used."
            told = consumer.wait_for(bound.repository, BINDING, lambda seen: seen.problem == away)
            assert consumer.logins()["failed"] > 0
            with own_postgres(home, address):
                back = consumer.wait_for(
                    bound.repository, BINDING, lambda seen: seen.logins > told.logins
                )
            assert (back.refused, back.problem) == (0, None)


@contextmanager
def own_postgres(home: Path, address: PostgresAddress) -> Iterator[None]:
    environment = {
        "IDP_POSTGRES_DATA_DIR": str(home / "data"),
        "IDP_POSTGRES_PORT": str(address.port),
        "IDP_POSTGRES_KEYS_DIR": str(address.keys_dir),
    }
    with child("local_stack.postgres", environment, home, stop=signal.SIGINT):
        wait_until_ready(address, timeout_seconds=60).close()
        ensure_roles_and_databases(address)
        yield
