"""The verdict, state by state; time is moved by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from execution_workers.gitops import GitOpsVerification
from execution_workers.ports import Permission
from idp_kernel.ids import new_id
from idp_kernel.wire.agent import AppliedSecret, Reconciliation
from idp_kernel.wire.worker import (
    AppEnvSubject,
    GitOpsCondition,
    GitOpsState,
    RepositoryWanted,
    SecretBindingWanted,
    VerifyGitOps,
)

OURS, LATER, EARLIER = "a" * 40, "b" * 40, "c" * 40
START = datetime(2026, 1, 1, tzinfo=UTC)
PATH = "teams/payments/appenv/x/app-key"
APPLIED = (AppliedSecret(name="app-key", remote_key=PATH, version=1),)


@dataclass
class MovedClock:
    """A clock that a test moves."""

    moment: datetime = START

    def now(self) -> datetime:
        return self.moment


@dataclass
class Agent:
    """An agent that says what a test wants it to say."""

    says: Reconciliation | None = None

    def permissions(self) -> Sequence[Permission]:
        return ()

    def reconciliation(self, owner: str, name: str) -> Reconciliation | None:
        assert (owner, name) == ("payments", "appenv-x")
        return self.says


class Forge:
    """A forge of which no commit follows another."""

    def is_followed_by(self, *_: object) -> bool:
        return False


@dataclass
class Verification:
    clock: MovedClock = field(default_factory=MovedClock)
    agent: Agent = field(default_factory=Agent)
    forge: Any = field(default_factory=Forge)

    def __post_init__(self) -> None:
        self.verification = GitOpsVerification(self.agent, self.forge, self.clock, settle_seconds=1)

    def state(self, says: Reconciliation | None) -> GitOpsState:
        self.agent.says = says
        verdict = self.verification.verify(WANTED)
        assert bool(verdict.events) == (verdict.state is GitOpsState.RECONCILED)
        return verdict.state


WANTED = VerifyGitOps(
    subject=AppEnvSubject(
        application_environment_id=new_id(), team="payments", application="shop", environment="dev"
    ),
    repository=RepositoryWanted(repository_id=new_id(), owner="payments", name="appenv-x"),
    revision=OURS,
    bindings=(
        SecretBindingWanted(
            binding_id=new_id(), secret_id=new_id(), name="app-key", store_path=PATH, version=1
        ),
    ),
)


def seen(
    observed: str | None = OURS,
    *,
    ancestors: tuple[str, ...] = (),
    status: str = "True",
    reason: str = "ReconciliationSucceeded",
    since: datetime | None = START - timedelta(hours=1),
    applied: tuple[AppliedSecret, ...] = APPLIED,
) -> Reconciliation:
    ready = GitOpsCondition(
        type="Ready", status=status, reason=reason, message="so it is", last_transition_at=since
    )
    return Reconciliation(
        owner="payments",
        name="appenv-x",
        observed_revision=observed,
        ancestors=ancestors,
        conditions=(ready,),
        applied_secrets=applied,
    )


@pytest.fixture
def verification() -> Verification:
    return Verification()


def test_ours_is_reconciled(verification: Verification) -> None:
    assert verification.state(seen()) is GitOpsState.RECONCILED


def test_what_descends_from_ours_is_reconciled(verification: Verification) -> None:
    assert verification.state(seen(LATER, ancestors=(OURS,))) is GitOpsState.RECONCILED


@pytest.mark.parametrize(
    "says",
    [
        None,
        seen(None, status="Unknown", reason="Progressing"),
        seen(EARLIER),
        seen(EARLIER, status="False", reason="ValidationFailed"),
        seen(status="Unknown", reason="Progressing"),
        seen(status="False", reason="FetchFailed"),
        seen(applied=()),
        seen(applied=(AppliedSecret(name="app-key", remote_key=PATH, version=2),)),
        seen(applied=(AppliedSecret(name="app-key", remote_key="elsewhere", version=1),)),
        seen().model_copy(update={"conditions": ()}),
    ],
)
def test_what_is_not_there_yet_is_progressing(
    verification: Verification, says: Reconciliation | None
) -> None:
    assert verification.state(says) is GitOpsState.PROGRESSING


@pytest.mark.parametrize("says", [seen(), seen(LATER, ancestors=(OURS,))])
def test_manifests_that_are_refused_degrade(
    verification: Verification, says: Reconciliation
) -> None:
    refused = seen(
        says.observed_revision,
        ancestors=says.ancestors,
        status="False",
        reason="ValidationFailed",
    )
    assert verification.state(refused) is GitOpsState.DEGRADED


def test_health_must_last_for_the_settle_window(verification: Verification) -> None:
    just_now = seen(since=START)
    assert verification.state(just_now) is GitOpsState.PROGRESSING
    verification.clock.moment = START + timedelta(seconds=1)
    assert verification.state(just_now) is GitOpsState.RECONCILED


def test_an_agent_that_tells_no_time_counts_from_first_sight(verification: Verification) -> None:
    timeless = seen(since=None)
    assert verification.state(timeless) is GitOpsState.PROGRESSING
    verification.clock.moment = START + timedelta(seconds=1)
    assert verification.state(timeless) is GitOpsState.RECONCILED
    later = seen(LATER, ancestors=(OURS,), since=None)
    assert verification.state(later) is GitOpsState.RECONCILED


def test_health_that_broke_counts_anew(verification: Verification) -> None:
    timeless = seen(since=None)
    assert verification.state(timeless) is GitOpsState.PROGRESSING
    verification.clock.moment = START + timedelta(seconds=1)
    broken = seen(status="False", reason="FetchFailed", since=None)
    assert verification.state(broken) is GitOpsState.PROGRESSING
    assert verification.state(timeless) is GitOpsState.PROGRESSING
