"""Whether the GitOps agent has our revision, our bindings at their versions, and good health."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta

from execution_workers.ports import GitForge, GitOpsAgent
from idp_kernel.clock import Clock
from idp_kernel.wire.agent import LASTING_REASONS, READY, Reconciliation
from idp_kernel.wire.worker import GitOpsCondition, GitOpsState, GitOpsVerdict, VerifyGitOps
from idp_kernel.workflows import ProviderEvent

REMEMBERED_REVISIONS = 1000

RevisionKey = tuple[str, str, str]
"""Owner, name and revision."""


class GitOpsVerification:
    """Answers at once with what the agent tells now; whoever waits asks again. Thread-safe."""

    def __init__(
        self, agent: GitOpsAgent, forge: GitForge, clock: Clock, *, settle_seconds: float
    ) -> None:
        self._agent = agent
        self._forge = forge
        self._clock = clock
        self._settle = timedelta(seconds=settle_seconds)
        self._healthy = _FirstSeen()

    def verify(self, wanted: VerifyGitOps) -> GitOpsVerdict:
        """`RECONCILED` when the observed revision is ours or follows ours, still has our bindings
        and has been `Ready` for the settle window; `DEGRADED` when the agent calls it invalid,
        refused or unhealthy; else `PROGRESSING`.
        """
        seen = self._agent.reconciliation(wanted.repository.owner, wanted.repository.name)
        if seen is None:
            return _verdict(wanted, None, GitOpsState.PROGRESSING, "The agent knows no repository.")
        state, message = self._judge(wanted, seen)
        return _verdict(wanted, seen, state, message)

    def _judge(self, wanted: VerifyGitOps, seen: Reconciliation) -> tuple[GitOpsState, str]:
        ready = ready_condition(seen)
        if not self._has_ours(wanted, seen):
            return GitOpsState.PROGRESSING, "The agent has not seen the revision yet."
        if ready.status != "True":
            self._healthy.forget(_key(wanted))
            found = f"The agent is not ready: {ready.reason}: {ready.message}"
            is_lasting = ready.status == "False" and ready.reason in LASTING_REASONS
            return (GitOpsState.DEGRADED if is_lasting else GitOpsState.PROGRESSING), found
        missing = _missing_bindings(wanted, seen)
        if missing:
            return GitOpsState.PROGRESSING, f"Not applied yet: {', '.join(missing)}."
        if not self._is_settled(wanted, ready):
            return GitOpsState.PROGRESSING, "Healthy, not for long enough yet."
        return GitOpsState.RECONCILED, "The agent has applied the revision and is healthy."

    def _has_ours(self, wanted: VerifyGitOps, seen: Reconciliation) -> bool:
        """An agent that tells no ancestors leaves it to the forge which commit follows which."""
        observed = seen.observed_revision
        if wanted.revision in (observed, *seen.ancestors):
            return True
        if observed is None or seen.ancestors:
            return False
        return self._forge.is_followed_by(wanted.repository, wanted.revision, observed)

    def _is_settled(self, wanted: VerifyGitOps, ready: GitOpsCondition) -> bool:
        """Since the agent's own transition, which is about this revision: for a new one it first
        leaves `Ready`. An agent that tells no time counts from our first sight of it.
        """
        now = self._clock.now()
        since = ready.last_transition_at or self._healthy.since(_key(wanted), now)
        return now - since >= self._settle


class _FirstSeen:
    """When each revision was first seen healthy; forgets the oldest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moments: OrderedDict[RevisionKey, datetime] = OrderedDict()

    def since(self, key: RevisionKey, now: datetime) -> datetime:
        with self._lock:
            moment = self._moments.setdefault(key, now)
            while len(self._moments) > REMEMBERED_REVISIONS:
                self._moments.popitem(last=False)
            return moment

    def forget(self, key: RevisionKey) -> None:
        with self._lock:
            self._moments.pop(key, None)


def _key(wanted: VerifyGitOps) -> RevisionKey:
    return wanted.repository.owner, wanted.repository.name, wanted.revision


def ready_condition(seen: Reconciliation) -> GitOpsCondition:
    """What the agent always publishes; without it nothing is known."""
    unknown = GitOpsCondition(type=READY, status="Unknown", reason="NoCondition", message="")
    return next((each for each in seen.conditions if each.type == READY), unknown)


def _missing_bindings(wanted: VerifyGitOps, seen: Reconciliation) -> list[str]:
    applied = {(each.name, each.remote_key, each.version) for each in seen.applied_secrets}
    return [
        f"{binding.name} at version {binding.version}"
        for binding in wanted.bindings
        if (binding.name, binding.store_path, binding.version) not in applied
    ]


def _verdict(
    wanted: VerifyGitOps, seen: Reconciliation | None, state: GitOpsState, message: str
) -> GitOpsVerdict:
    reconciled = state is GitOpsState.RECONCILED
    return GitOpsVerdict(
        state=state,
        expected_revision=wanted.revision,
        observed_revision=None if seen is None else seen.observed_revision,
        message=message,
        conditions=() if seen is None else seen.conditions,
        events=(ProviderEvent.GITOPS_RECONCILIATION_VERIFIED,) if reconciled else (),
    )
