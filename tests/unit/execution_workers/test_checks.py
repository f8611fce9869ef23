"""Checks never take more than their share, and say so when there is none left."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from typing import cast

import pytest

from execution_workers.checks import CALLS_AT_ONCE, LOOKS_AT_ONCE, Checks
from execution_workers.ports import (
    GitForge,
    GitOpsAgent,
    Marker,
    Pin,
    SecretStore,
    StandingRepository,
)
from idp_kernel.clock import SystemClock
from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.wire.worker import (
    CHECKS_PER_CALL,
    AppEnvExpected,
    AppEnvSubject,
    EnsureRepositories,
    RepositoryWanted,
    SecretBindingWanted,
)

WITHIN_SECONDS = 20


class CountingForge:
    """Holds each look until it may go on, and counts those in flight."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._in_flight = 0
        self.most_in_flight = 0
        self.asked = 0
        self.may_go_on = threading.Event()
        self.error: PlatformError | None = None
        """Of reading the repository whose name is `bad`."""
        self.is_away = False
        self.weaknesses: tuple[str, ...] = ()
        self.is_archived = False
        self.owner = "ours"
        """The installation that all repositories belong to."""

    def wait_for(self, looks: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._in_flight == looks, WITHIN_SECONDS)

    def standing(self, wanted: RepositoryWanted) -> StandingRepository:
        with self._changed:
            self.asked += 1
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            self._changed.notify_all()
        assert self.may_go_on.wait(WITHIN_SECONDS)
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()
        return StandingRepository(
            Marker(self.owner, wanted.repository_id, ""),
            1,
            self.weaknesses,
            "Mark it as ours.",
            is_archived=self.is_archived,
        )

    def pins(
        self, repository: RepositoryWanted, bindings: Sequence[SecretBindingWanted]
    ) -> Mapping[str, Pin]:
        if self.error is not None and repository.name == "bad":
            raise self.error
        return {each.binding_id: Pin(each.version, "as it should be") for each in bindings}

    def concerns_one(self, _repository: RepositoryWanted, error: PlatformError) -> bool:
        if self.is_away:
            raise Unavailable("The forge is away.", code="forge_unreachable")
        return error.code == "git_timeout"


class AgentWithNothing:
    """Knows no repository, as one that passes over those that are archived."""

    def reconciliation(self, _owner: str, _name: str) -> None:
        return None


@pytest.fixture
def forge() -> CountingForge:
    return CountingForge()


@pytest.fixture
def checks(forge: CountingForge) -> Iterator[Checks]:
    agent, store = cast("GitOpsAgent", AgentWithNothing()), cast("SecretStore", object())
    asked = Checks(cast("GitForge", forge), store, {}, agent, SystemClock(), installation_id="ours")
    with closing(asked):
        yield asked


def expected(name: str = "good") -> AppEnvExpected:
    binding = SecretBindingWanted(
        binding_id=new_id(), secret_id=new_id(), name="app-key", store_path="x", version=1
    )
    return AppEnvExpected(
        subject=AppEnvSubject(
            application_environment_id=new_id(), team="shop", application="shop", environment="dev"
        ),
        repository=RepositoryWanted(repository_id=new_id(), owner="shop", name=name),
        required_approvals=1,
        revision="0" * 40,
        bindings=(binding,),
    )


def test_all_calls_together_look_at_so_many_things_at_once(
    checks: Checks, forge: CountingForge
) -> None:
    items = [expected() for _ in range(CHECKS_PER_CALL)]
    with ThreadPoolExecutor(CALLS_AT_ONCE + 1) as callers:
        calls = {callers.submit(checks.bindings_present, items) for _ in range(CALLS_AT_ONCE + 1)}
        forge.wait_for(LOOKS_AT_ONCE)
        (refused,), held = wait(calls, WITHIN_SECONDS, return_when=FIRST_COMPLETED)
        forge.may_go_on.set()
        findings = [each for call in held for each in call.result().items]
    with pytest.raises(Unavailable) as busy:
        refused.result()
    assert busy.value.code == "workers_busy"
    assert all(each.passed for each in findings)
    assert forge.asked == len(findings) == CALLS_AT_ONCE * CHECKS_PER_CALL
    assert forge.most_in_flight == LOOKS_AT_ONCE
    assert checks.repositories_protected(items).items, "there is a place again"


@pytest.mark.parametrize("is_archived", [False, True])
def test_what_the_agent_has_not_is_told_from_what_is_archived(
    checks: Checks,
    forge: CountingForge,
    is_archived: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    forge.may_go_on.set()
    forge.is_archived = is_archived
    (finding,) = checks.gitops_reconciled([expected()]).items
    assert not finding.passed
    assert ("shop/good is archived" in finding.found) is is_archived
    assert ("does not know" in finding.found) is not is_archived


def test_what_one_repository_fails_with_is_its_own_finding(
    checks: Checks, forge: CountingForge
) -> None:
    forge.may_go_on.set()
    forge.error = Unavailable("git fetch took too long.", code="git_timeout")
    one, other = checks.bindings_present([expected("bad"), expected()]).items
    assert (one.passed, other.passed) == (False, True)
    assert "shop/bad cannot be read: git fetch took too long." in one.found


def test_a_forge_that_is_away_is_no_finding(checks: Checks, forge: CountingForge) -> None:
    forge.may_go_on.set()
    forge.error, forge.is_away = Unavailable("slow", code="git_timeout"), True
    with pytest.raises(Unavailable, match="forge is away"):
        checks.bindings_present([expected("bad"), expected()])
    forge.error, forge.is_away = Unavailable("refused", code="forge_unreachable"), False
    with pytest.raises(Unavailable, match="refused"):
        checks.bindings_present([expected("bad"), expected()])


def test_a_protection_that_lets_too_much_happen_is_no_protection(
    checks: Checks, forge: CountingForge
) -> None:
    forge.may_go_on.set()
    (guarded,) = checks.repositories_protected([expected()]).items
    assert guarded.passed
    forge.weaknesses = ("everybody may force",)
    (weak,) = checks.repositories_protected([expected()]).items
    assert not weak.passed
    assert weak.found.endswith("is protected and needs 1 approval; but everybody may force")


def test_who_may_not_have_a_name_is_told_how_to_get_it(
    checks: Checks, forge: CountingForge
) -> None:
    forge.may_go_on.set()
    item = expected()
    wanted = EnsureRepositories(subject=item.subject, repositories=(item.repository,))
    (free,) = checks.repositories_free(wanted).items
    assert (free.passed, "Mark it" in free.found) == (True, False)
    forge.owner = "theirs"
    (taken,) = checks.repositories_free(wanted).items
    assert not taken.passed
    assert taken.found.endswith("not made for this. Mark it as ours.")
