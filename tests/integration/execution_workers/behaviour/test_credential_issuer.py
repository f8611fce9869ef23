"""What every `CredentialIssuer` does, at the provider itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from execution_workers.credentials import SecretFile
from execution_workers.ports import Attempt, CredentialIssuer, Properties
from execution_workers.providers.harbor.client import HarborClient
from execution_workers.providers.harbor.issuer import HarborIssuer
from execution_workers.providers.openbao.issuer import GeneratedValues
from execution_workers.providers.postgres.client import PostgresClient
from execution_workers.providers.postgres.issuer import PostgresIssuer
from idp_kernel.clock import SystemClock
from idp_kernel.errors import ProviderRejected
from idp_kernel.ids import new_id
from idp_kernel.tokens import write_private_file
from local_stack.postgres_setup import APPLICATIONS_DATABASE, ISSUER_ROLE
from tests.fixtures.stack import PostgresServer
from tests.fixtures.vendors.harbor import ACCOUNT, Harbor
from tests.integration.execution_workers.behaviour.faults import provider_calls

WITH_LOGINS = ["postgres", "harbor"]
EVERY = ["openbao", *WITH_LOGINS]
every_issuer = pytest.mark.parametrize("issuer", EVERY, indirect=True)
every_with_logins = pytest.mark.parametrize("issuer", WITH_LOGINS, indirect=True)
"""A generated value is good wherever it is kept: its issuer has nothing to let in or to end."""
TEAM = "payments"


def attempt(installation: str = "ours", request_id: str = "") -> Attempt:
    return Attempt(installation, request_id or new_id(), lambda: None)


@contextmanager
def harbor_issuer(harbor: Harbor, folder: Path, *, push: bool = False) -> Iterator[HarborIssuer]:
    credentials = folder / f"{new_id()}.json"
    write_private_file(credentials, json.dumps(ACCOUNT))
    client = HarborClient(
        harbor.url,
        SecretFile(credentials),
        provider_calls("harbor"),
        registry=None,
        robot_prefix="robot$",
        robots_push=push,
        timeout_seconds=3,
    )
    with closing(client):
        yield HarborIssuer(client, SystemClock())


@pytest.fixture
def issuer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CredentialIssuer]:
    if request.param == "openbao":
        yield GeneratedValues()
    elif request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.ensure_platform().url(ISSUER_ROLE, APPLICATIONS_DATABASE)
        yield PostgresIssuer(
            PostgresClient(url, None, provider_calls("postgres"), timeout_seconds=10)
        )
    else:
        with Harbor() as harbor, harbor_issuer(harbor, tmp_path) as issuer:
            yield issuer


@dataclass
class Held:
    """A secret's credentials by version, as the store would have them."""

    issuer: CredentialIssuer
    secret_id: str
    versions: dict[int, Properties]

    def add(self, version: int, *, beside: tuple[int, ...] = (), by: Attempt | None = None) -> None:
        in_use = {each: self.versions[each] for each in beside}
        self.versions[version] = self.issuer.draft(self.secret_id, in_use, team=TEAM)
        self.install(version, by)

    def install(self, version: int, by: Attempt | None = None) -> None:
        self.issuer.install(
            self.secret_id, self.versions[version], version, by or attempt(), team=TEAM
        )

    def retire_all_but(self, version: int, by: Attempt | None = None) -> int:
        return self.issuer.retire_others(
            self.secret_id, self.versions[version], version, by or attempt(), team=TEAM
        )

    def works(self, version: int) -> bool:
        return self.issuer.verify(self.versions[version], team=TEAM) is None

    def problem(self, version: int) -> str | None:
        return self.issuer.problem_with(self.secret_id, version)


@pytest.fixture
def held(issuer: CredentialIssuer) -> Held:
    return Held(issuer, new_id(), {})


@every_issuer
def test_a_credential_works_once_it_is_installed(held: Held) -> None:
    held.add(1)
    assert held.works(1)
    assert held.problem(1) is None


@every_with_logins
def test_a_draft_opens_nothing(held: Held) -> None:
    held.versions[1] = held.issuer.draft(held.secret_id, {}, team=TEAM)
    assert not held.works(1)
    assert held.problem(1) is not None


@every_issuer
def test_each_credential_is_another(held: Held) -> None:
    drafts = [held.issuer.draft(held.secret_id, {}, team=TEAM) for _ in range(2)]
    assert drafts[0] != drafts[1]


@every_issuer
def test_installing_again_changes_nothing(held: Held) -> None:
    held.add(1)
    held.install(1)
    assert held.works(1)


@every_issuer
def test_installing_many_times_at_once_ends_in_one_that_works(held: Held) -> None:
    held.versions[1] = held.issuer.draft(held.secret_id, {}, team=TEAM)
    held.install(1)
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda _: held.install(1), range(8)))
    assert held.works(1)


@every_issuer
def test_a_later_request_finishes_what_an_earlier_one_began(held: Held) -> None:
    held.versions[1] = held.issuer.draft(held.secret_id, {}, team=TEAM)
    held.install(1, attempt(request_id=new_id()))
    held.install(1, attempt(request_id=new_id()))
    assert held.works(1)


@every_issuer
def test_the_new_one_works_beside_the_one_in_use(held: Held) -> None:
    held.add(1)
    held.add(2, beside=(1,))
    assert held.works(1)
    assert held.works(2)


@every_with_logins
def test_retiring_ends_all_but_one_and_again_finds_nothing_to_do(held: Held) -> None:
    held.add(1)
    held.add(2, beside=(1,))
    for _ in range(2):
        held.retire_all_but(2)
        assert not held.works(1)
        assert held.works(2)
    assert held.problem(1) is not None


@every_with_logins
def test_many_rotations_take_turns_at_two_places(held: Held) -> None:
    held.add(1)
    for version in range(2, 6):
        held.add(version, beside=(version - 1,))
        held.retire_all_but(version)
        assert held.works(version)
    assert len({each["username"] for each in held.versions.values()}) == 2


@every_with_logins
def test_a_later_credential_is_neither_replaced_nor_retired(held: Held) -> None:
    late = held.issuer.draft(held.secret_id, {}, team=TEAM)
    held.add(3)
    held.versions[2] = late
    assert late["username"] == held.versions[3]["username"]
    with pytest.raises(ProviderRejected) as refused:
        held.install(2)
    assert refused.value.code == "login_replaced"
    held.add(4, beside=(3,))
    with pytest.raises(ProviderRejected) as refused:
        held.retire_all_but(3)
    assert refused.value.code == "login_replaced"
    assert held.works(3)
    assert held.works(4)


@every_with_logins
def test_what_another_installation_made_is_left_alone(held: Held) -> None:
    held.add(1, by=attempt("theirs"))
    work: list[Callable[[], object]] = [
        lambda: held.install(1),
        lambda: held.retire_all_but(1),
        lambda: held.issuer.remove(held.secret_id, attempt()),
    ]
    for each in work:
        with pytest.raises(ProviderRejected) as refused:
            each()
        assert refused.value.code == "foreign_owner"
    assert held.works(1)


@every_with_logins
def test_a_user_name_that_the_platform_did_not_choose_is_not_touched(held: Held) -> None:
    held.versions[1] = {
        **held.issuer.draft(held.secret_id, {}, team=TEAM),
        "username": "somebody",
    }
    with pytest.raises(ProviderRejected) as refused:
        held.install(1)
    assert refused.value.code == "foreign_owner"


@every_issuer
def test_removing_leaves_nothing_and_again_finds_nothing(held: Held) -> None:
    held.add(1)
    for _ in range(2):
        assert held.issuer.remove(held.secret_id, attempt())
    if "username" in held.versions[1]:
        assert not held.works(1)


@every_issuer
def test_the_end_lets_nobody_in_and_again_finds_nothing(held: Held) -> None:
    held.add(1)
    has_login = "username" in held.versions[1]
    assert bool(held.issuer.logins_let_in(held.secret_id)) is has_login
    first, again = (held.issuer.end(held.secret_id, attempt()) for _ in range(2))
    assert (first.logins, again.logins) == (int(has_login), 0)
    assert not held.issuer.logins_let_in(held.secret_id)
    if has_login:
        assert not held.works(1)


@every_with_logins
def test_in_an_emergency_the_new_one_works_at_once(held: Held) -> None:
    held.add(1)
    held.add(2, beside=(1,))
    pinned = {2: held.versions[2]}
    held.versions[3] = held.issuer.draft(held.secret_id, pinned, team=TEAM, emergency=True)
    held.issuer.install(held.secret_id, held.versions[3], 3, attempt(), team=TEAM, emergency=True)
    assert held.works(2)
    assert held.works(3)
    held.retire_all_but(3)
    assert [held.works(version) for version in (1, 2, 3)] == [False, False, True]


@every_with_logins
def test_a_newer_run_stops_an_elder_before_it_changes_anything(held: Held) -> None:
    held.add(1)
    held.add(2, beside=(1,))

    def taken_over() -> None:
        raise ProviderRejected("a newer run", code="fenced_off")

    late = Attempt("ours", new_id(), taken_over)
    held.versions[3] = held.issuer.draft(held.secret_id, {2: held.versions[2]}, team=TEAM)
    changes: list[Callable[[], object]] = [
        lambda: held.install(3, late),
        lambda: held.retire_all_but(2, late),
    ]
    for work in changes:
        with pytest.raises(ProviderRejected) as stopped:
            work()
        assert stopped.value.code == "fenced_off"
    assert [held.works(version) for version in (1, 2, 3)] == [True, True, False]
