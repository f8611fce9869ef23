"""OpenBao as a company runs it: logins, renewal, namespaces, the end of versions, faults."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey

from execution_workers.credentials import SecretFile
from execution_workers.ports import Attempt, Marker
from execution_workers.providers.openbao.client import OpenBaoClient
from execution_workers.providers.openbao.logins import AppRoleLogin, StoreLogin, TokenLogin
from execution_workers.providers.openbao.settings import VersionEnd
from execution_workers.providers.openbao.store import OpenBaoStore
from idp_kernel.clock import Clock, SystemClock
from idp_kernel.errors import ProviderRejected, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.tokens import write_private_file
from local_stack.openbao_setup import ROLE_SETTINGS, WORKERS_POLICY_HCL
from tests.docs.pages import DOCS, SHOWN, blocks
from tests.docs.shell import perform, shell
from tests.docs.transcript import Meanings, commands
from tests.fixtures.stack import OpenBaoServer
from tests.fixtures.vendors.openbao import ReviewingCluster, WayToOpenBao
from tests.fixtures.vendors.stand_in import Answer, Fault
from tests.integration.execution_workers.behaviour.faults import (
    IS_TOLD_AS,
    NOT_THE_VENDORS,
    assert_told,
    provider_calls,
)
from tests.integration.execution_workers.driver import Store, eventually

POLICY = "idp-workers"
AUDIENCE = "openbao"
Json = dict[str, Any]


@dataclass
class MovedClock:
    """A clock that a test moves."""

    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        return self.moment

    def move(self, by: timedelta) -> None:
        self.moment += by


@pytest.fixture
def root(openbao_server: OpenBaoServer) -> Store:
    """The store as its root sees it."""
    return Store(openbao_server)


@pytest.fixture
def way(openbao_server: OpenBaoServer) -> Iterator[WayToOpenBao]:
    with WayToOpenBao(openbao_server.url) as way:
        yield way


@pytest.fixture
def approle(openbao_server: OpenBaoServer) -> StoreLogin:
    return AppRoleLogin(SecretFile(openbao_server.workers_file))


@contextmanager
def connected(
    url: str,
    login: StoreLogin,
    *,
    clock: Clock | None = None,
    namespace: str | None = None,
    timeout_seconds: float = 20,
) -> Iterator[OpenBaoClient]:
    client = OpenBaoClient(
        url,
        login,
        provider_calls("openbao"),
        clock or SystemClock(),
        timeout_seconds=timeout_seconds,
        namespace=namespace,
    )
    with closing(client):
        yield client


def written(client: OpenBaoClient, path: str, values: int = 1) -> str:
    """A secret of the platform with as many versions; its path."""
    client.write_metadata(path, {"idp_entity_id": "x"}, expected_version=0)
    for version in range(values):
        client.write_value(path, {"value": f"value-{version + 1}"}, expected_version=version)
    return path


def new_path() -> str:
    return f"teams/team-x{new_id()[-12:]}/appenv/x/app-key"


def did(root: Store, method: str, path: str, body: Json) -> Json:
    answer = root.request(method, path, body)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else {}


def private(folder: Path, content: str) -> SecretFile:
    path = folder / new_id()
    write_private_file(path, content)
    return SecretFile(path)


def signed(key: ECKey, subject: str, **claims: Any) -> str:
    now = int(datetime.now(UTC).timestamp())
    times = {"iat": now, "nbf": now, "exp": now + 600}
    said = {"sub": subject, "aud": [AUDIENCE], **times, **claims}
    return jwt.encode({"alg": "ES256"}, said, key)


def authority() -> str:
    """A certificate that vouches for nobody: the method wants one, also for plain HTTP."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


@pytest.fixture
def key() -> ECKey:
    return ECKey.generate_key("P-256")


@pytest.fixture
def jwt_mount(root: Store, key: ECKey) -> str:
    """An auth method that trusts the key."""
    mount = f"workers-{new_id()[-12:]}"
    did(root, "POST", f"sys/auth/{mount}", {"type": "jwt"})
    pem = key.as_pem(private=False).decode()
    did(root, "POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [pem]})
    did(root, "POST", f"auth/{mount}/role/idp", {
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": [AUDIENCE],
        "bound_subject": "execution-workers", **ROLE_SETTINGS, "token_policies": [POLICY],
    })  # fmt: skip
    return mount


def test_the_workers_log_in_by_a_signed_token(
    openbao_server: OpenBaoServer, jwt_mount: str, key: ECKey, tmp_path: Path
) -> None:
    file = private(tmp_path, signed(key, "execution-workers"))
    with connected(openbao_server.url, TokenLogin(file, "idp", jwt_mount)) as client:
        assert client.value(written(client, new_path()), 1) == {"value": "value-1"}


def test_somebody_elses_token_is_refused(
    openbao_server: OpenBaoServer, jwt_mount: str, key: ECKey, tmp_path: Path
) -> None:
    file = private(tmp_path, signed(key, "somebody-else"))
    with (
        connected(openbao_server.url, TokenLogin(file, "idp", jwt_mount)) as client,
        pytest.raises(ProviderRejected, match="log the workers in") as refused,
    ):
        client.metadata("teams/x/y")
    assert file.read() not in refused.value.message


def test_a_token_that_was_replaced_in_its_file_counts_at_once(
    way: WayToOpenBao, jwt_mount: str, key: ECKey, tmp_path: Path
) -> None:
    file, clock = private(tmp_path, signed(key, "execution-workers")), MovedClock()
    with connected(way.url, TokenLogin(file, "idp", jwt_mount), clock=clock) as client:
        client.metadata("teams/x/y")
        file.path.write_text(later := signed(key, "execution-workers", jti="later"))
        clock.move(timedelta(hours=2))
        way.plan(Fault.SECONDARY_LIMIT, "POST", "/renew-self")
        client.metadata("teams/x/y")
    first, second = way.calls("POST", f"/{jwt_mount}/login")
    assert first.body["jwt"] != second.body["jwt"] == later


def test_the_workers_log_in_as_their_service_account(
    root: Store, openbao_server: OpenBaoServer, key: ECKey, tmp_path: Path
) -> None:
    namespace, name = "idp", "execution-workers"
    token = signed(key, f"system:serviceaccount:{namespace}:{name}", iss="kubernetes", **{
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": "d9c7a5f0-6f5e-4a51-8a2c-0d6f4a3b2c1d"},
        },
    })  # fmt: skip
    mount, reviewer = f"cluster-{new_id()[-12:]}", signed(key, "reviewer")
    with ReviewingCluster(reviewer) as cluster:
        did(root, "POST", f"sys/auth/{mount}", {"type": "kubernetes"})
        did(root, "POST", f"auth/{mount}/config", {
            "kubernetes_host": cluster.url, "token_reviewer_jwt": reviewer,
            "disable_local_ca_jwt": True, "kubernetes_ca_cert": authority(),
        })  # fmt: skip
        did(root, "POST", f"auth/{mount}/role/idp", {
            "bound_service_account_names": [name], "bound_service_account_namespaces": [namespace],
            **ROLE_SETTINGS, "token_policies": [POLICY],
        })  # fmt: skip
        login = TokenLogin(private(tmp_path, token), "idp", mount)
        with connected(openbao_server.url, login) as client:
            with pytest.raises(ProviderRejected):
                client.metadata("teams/x/y")
            cluster.accounts[token] = (namespace, name)
            assert client.value(written(client, new_path()), 1) == {"value": "value-1"}
        assert len(cluster.calls("POST", "/tokenreviews")) == 2


def test_the_pages_example_for_kubernetes_is_typed(
    root: Store, openbao_server: OpenBaoServer, key: ECKey, tmp_path: Path
) -> None:
    """In a namespace of its own, which a company's store would be."""
    namespace, page = f"company-{new_id()[-12:]}", DOCS / "providers" / "openbao.md"
    did(root, "POST", f"sys/namespaces/{namespace}", {})
    (policy,), (example,) = blocks(page, "hcl"), blocks(page, SHOWN)
    (tmp_path / "idp-workers.hcl").write_text(policy.text)
    (tmp_path / "cluster-ca.pem").write_text(authority())
    (tmp_path / "reviewer.jwt").write_text(signed(key, "reviewer"))
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {
        "PATH": path,
        "HOME": str(tmp_path),
        "BAO_ADDR": openbao_server.url,
        "BAO_TOKEN": openbao_server.root_token,
        "BAO_NAMESPACE": namespace,
    }
    with shell(tmp_path, environment, tmp_path) as bash:
        for command in commands(example):
            perform(command, bash, Meanings(0))
    role = did(root, "GET", f"{namespace}/auth/kubernetes/role/idp-workers", {})["data"]
    assert role["token_policies"] == ["idp-workers"]
    kept = did(root, "GET", f"{namespace}/sys/policies/acl/idp-workers", {})["data"]["policy"]
    assert kept.strip() == policy.text.strip()


def test_a_token_is_renewed_before_it_ends_and_replaced_near_its_longest_life(
    way: WayToOpenBao, approle: StoreLogin
) -> None:
    clock = MovedClock()
    with connected(way.url, approle, clock=clock) as client:
        client.metadata("teams/x/y")
        client.metadata("teams/x/y")
        assert way.calls("POST", "/renew-self") == []
        clock.move(timedelta(minutes=15))
        client.metadata("teams/x/y")
        client.metadata("teams/x/y")
    assert len(way.calls("POST", "/login")) == 1
    assert len(way.calls("POST", "/renew-self")) == 1
    tokens = {each.headers.get("x-vault-token") for each in way.calls("GET")}
    assert len(tokens) == 1, "the same token goes on"


def test_a_token_that_gets_little_more_time_is_replaced(
    root: Store, way: WayToOpenBao, tmp_path: Path, jwt_mount: str, key: ECKey
) -> None:
    """The store gives a renewed token no more than what is left of its longest life."""
    did(root, "POST", f"auth/{jwt_mount}/role/short", {
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": [AUDIENCE],
        "token_policies": [POLICY], "token_ttl": "4s", "token_explicit_max_ttl": "5s",
    })  # fmt: skip
    login = TokenLogin(private(tmp_path, signed(key, "execution-workers")), "short", jwt_mount)
    with connected(way.url, login) as client:

        def is_replaced() -> bool:
            client.metadata("teams/x/y")
            return len(way.calls("POST", "/login")) == 2

        eventually(is_replaced, what="a second login")
    assert way.calls("POST", "/renew-self")


def test_a_token_that_may_not_renew_itself_is_replaced(
    way: WayToOpenBao, approle: StoreLogin
) -> None:
    clock = MovedClock()
    with connected(way.url, approle, clock=clock) as client:
        client.metadata("teams/x/y")
        clock.move(timedelta(minutes=15))
        way.plan(Fault.SECONDARY_LIMIT, "POST", "/renew-self")
        client.metadata("teams/x/y")
    assert len(way.calls("POST", "/login")) == 2


def test_a_namespace_is_a_store_of_its_own(
    root: Store, openbao_server: OpenBaoServer, approle: StoreLogin, tmp_path: Path
) -> None:
    namespace = f"company-{new_id()[-12:]}"
    did(root, "POST", f"sys/namespaces/{namespace}", {})
    for path, body in (
        ("sys/mounts/kv", {"type": "kv", "options": {"version": "2"}}),
        ("sys/auth/approle", {"type": "approle"}),
        (f"sys/policies/acl/{POLICY}", {"policy": WORKERS_POLICY_HCL}),
        ("auth/approle/role/idp", {**ROLE_SETTINGS, "token_policies": [POLICY]}),
    ):
        did(root, "POST", f"{namespace}/{path}", body)
    role = f"{namespace}/auth/approle/role/idp"
    role_id = did(root, "GET", f"{role}/role-id", {})["data"]["role_id"]
    secret_id = did(root, "POST", f"{role}/secret-id", {})["data"]["secret_id"]
    file = private(tmp_path, f'{{"role_id": "{role_id}", "secret_id": "{secret_id}"}}')
    with (
        connected(openbao_server.url, AppRoleLogin(file), namespace=namespace) as within,
        connected(openbao_server.url, approle) as at_root,
    ):
        path = written(within, new_path())
        assert within.value(path, 1) == {"value": "value-1"}
        assert at_root.metadata(path) is None
        assert written(at_root, path)
    with (
        connected(openbao_server.url, AppRoleLogin(file)) as elsewhere,
        pytest.raises(ProviderRejected),
    ):
        elsewhere.metadata(path)


@pytest.mark.parametrize("body", NOT_THE_VENDORS)
def test_a_404_that_is_not_the_stores_tells_nothing(
    way: WayToOpenBao, approle: StoreLogin, body: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that does not know the store's address must not pass for the end of a secret."""
    with connected(way.url, approle) as client:
        path = written(client, new_path())
        store = OpenBaoStore(client, VersionEnd.DESTROY)
        store.end(path, [1])
        assert store.read(path, 1) is None
        assert store.find(new_path()) is None
        monkeypatch.setattr(way, "answer", lambda _call: Answer(404, body))
        for look in (lambda: store.find(path), lambda: store.read(path, 1)):
            with pytest.raises(Unavailable) as told:
                look()
            assert told.value.code == "openbao_unreadable"


DELETING = '\npath "kv/delete/teams/*" {\n  capabilities = ["update"]\n}\n'


@pytest.mark.parametrize("end", VersionEnd)
def test_an_ended_version_is_read_by_nobody_and_comes_back_only_where_it_was_deleted(
    root: Store,
    openbao_server: OpenBaoServer,
    jwt_mount: str,
    key: ECKey,
    tmp_path: Path,
    end: VersionEnd,
) -> None:
    policy = f"deleting-{new_id()[-12:]}"
    did(root, "PUT", f"sys/policies/acl/{policy}", {"policy": WORKERS_POLICY_HCL + DELETING})
    did(root, "POST", f"auth/{jwt_mount}/role/deleting", {
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": [AUDIENCE],
        **ROLE_SETTINGS, "token_policies": [policy],
    })  # fmt: skip
    login = TokenLogin(private(tmp_path, signed(key, "workers")), "deleting", jwt_mount)
    with connected(openbao_server.url, login) as client:
        store, path = OpenBaoStore(client, end), written(client, new_path(), values=2)
        for _ in range(2):
            store.end(path, [1])
            found = store.find(path)
            assert found is not None
            assert (sorted(found.live), sorted(found.kept)) == ([2], [2])
            assert store.read(path, 1) is None
        assert store.read(path, 2) is not None
        did(root, "POST", f"kv/undelete/{path}", {"versions": [1]})
        assert (store.read(path, 1) is not None) is (end is VersionEnd.DELETE)


@dataclass(frozen=True)
class Work:
    do: Callable[[OpenBaoClient, str], object]
    method: str
    part: str


OPERATIONS: Mapping[str, Work] = {
    "read secret metadata": Work(lambda c, path: c.metadata(path), "GET", "/metadata/"),
    "write secret metadata": Work(
        lambda c, path: c.write_metadata(path, {"a": "b"}, expected_version=3),
        "POST",
        "/metadata/",
    ),
    "write secret": Work(
        lambda c, path: c.write_value(path, {"value": "new"}, expected_version=2), "POST", "/data/"
    ),
    "read secret": Work(lambda c, path: c.value(path, 1), "GET", "/data/"),
    "destroy versions": Work(lambda c, path: c.destroy(path, [1]), "POST", "/destroy/"),
    "delete secret": Work(lambda c, path: c.delete(path), "DELETE", "/metadata/"),
    "read policy": Work(lambda c, _: c.policy("team-x"), "GET", "/policies/"),
    "write policy": Work(
        lambda c, _: c.write_policy("team-x", 'path "kv/x" { capabilities = ["read"] }'),
        "POST",
        "/policies/",
    ),
    "read login role": Work(lambda c, _: c.login_role("team-x"), "GET", "/role/team-x"),
    "write login role": Work(
        lambda c, _: c.write_login_role("team-x", {
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["x"],
        }),
        "POST",
        "/role/team-x",
    ),
}  # fmt: skip
WRITTEN_ONCE = ("write secret", "write secret metadata")
ANSWERED_EMPTY = (
    "write secret metadata", "destroy versions", "delete secret", "write policy",
    "write login role",
)  # fmt: skip


def limit_under(fault: Fault) -> float:
    """Short where an answer does not come to its end: it is given up then, before it is cut."""
    return 2 if fault is Fault.SLOW else 20


@pytest.mark.parametrize("fault", IS_TOLD_AS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_fault_is_told_and_a_repeat_does_it_once(
    root: Store, way: WayToOpenBao, approle: StoreLogin, fault: Fault, operation: str
) -> None:
    """A refused token is replaced and the call sent again: that is no fault then."""
    work = OPERATIONS[operation]
    with connected(way.url, approle, timeout_seconds=limit_under(fault)) as client:
        path = written(client, new_path(), values=2)
        for written_first in ("write policy", "write login role"):
            OPERATIONS[written_first].do(client, path)
        before = root.metadata(path)
        assert before is not None
        expected = before["current_metadata_version"]

        def do() -> None:
            if operation == "write secret metadata":
                client.write_metadata(path, {"a": "b"}, expected_version=expected)
            else:
                work.do(client, path)

        way.plan(fault, work.method, work.part)
        has_nothing_to_lose = fault is Fault.TRUNCATED and operation in ANSWERED_EMPTY
        if fault is Fault.SECONDARY_LIMIT or has_nothing_to_lose:
            do()
        else:
            assert_told(fault, "openbao", operation, do)
        assert way.planned == [], "the fault was met"
        if operation in WRITTEN_ONCE and _is_done(root, path, operation, before):
            with pytest.raises(Unavailable) as contended:
                do()
            assert contended.value.code == "openbao_contended"
        else:
            do()
        after = root.metadata(path)
    if operation == "delete secret":
        assert after is None
        return
    assert after is not None
    assert after["current_version"] == 2 + (operation == "write secret")
    moved = after["current_metadata_version"] - before["current_metadata_version"]
    assert moved == (operation == "write secret metadata")
    assert after["versions"]["1"]["destroyed"] is (operation == "destroy versions")


def _is_done(root: Store, path: str, operation: str, before: Json) -> bool:
    after = root.metadata(path)
    assert after is not None
    name = "current_version" if operation == "write secret" else "current_metadata_version"
    return bool(after[name] > before[name])


@pytest.mark.parametrize("fault", [each for each in IS_TOLD_AS if each is not Fault.SKEWED])
def test_a_fault_of_the_login_itself_is_told(
    way: WayToOpenBao, approle: StoreLogin, fault: Fault
) -> None:
    with connected(way.url, approle, timeout_seconds=limit_under(fault)) as client:
        way.plan(fault, "POST", "/login")
        assert_told(fault, "openbao", "log the workers in", lambda: client.metadata("teams/x/y"))
        assert client.metadata("teams/x/y") is None


def test_a_later_request_finds_the_version_whose_answer_was_lost(
    way: WayToOpenBao, approle: StoreLogin
) -> None:
    with connected(way.url, approle) as client:
        store, path, request = OpenBaoStore(client), new_path(), new_id()
        store.mark(path, None, Marker("ours", "entity", request), None)
        way.plan(Fault.RESET, "POST", "/data/")
        with pytest.raises(Unavailable):
            store.write(path, {"value": "one"}, written_by=request, newest_version=0)
        found = store.find(path)
        assert found is not None
        assert found.version == 1
        value = store.read(path, 1)
        assert value is not None
        assert value.written_by == request


def test_each_team_gets_a_policy_and_a_role_once(way: WayToOpenBao, approle: StoreLogin) -> None:
    team = f"team-x{new_id()[-12:]}"
    with connected(way.url, approle) as client:
        store = OpenBaoStore(client)
        for _ in range(2):
            store.let_team_in(team, Attempt("ours", new_id(), lambda: None))
    assert len(way.calls("POST", "/policies/")) == 2
    assert len(way.calls("POST", "/role/")) == 2
