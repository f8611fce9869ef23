"""One look at one repository: fetch, read, validate, publish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from idp_kernel.clock import Clock
from idp_kernel.errors import PlatformError
from idp_kernel.telemetry.logs import redact
from idp_kernel.wire.agent import READY, VALIDATION_FAILED, Reconciliation
from idp_kernel.wire.worker import GitOpsCondition
from local_stack.agent.manifests import ManifestObject, Problem, read_objects
from local_stack.agent.mirrors import Mirrors, Snapshot
from local_stack.agent.reconciliations import SOURCE_AVAILABLE, Reconciliations
from local_stack.agent.validation import applied_secrets, validate_objects

TOLD_PROBLEMS = 5
"""How many problems a condition's message names; it says how many more there are."""
_MESSAGE_LENGTH = 1500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Source:
    """A repository as the forge lists it."""

    owner: str
    name: str
    branch: str
    head: str | None


@dataclass(frozen=True)
class Verdict:
    """One condition as it shall stand."""

    kind: str
    status: str
    reason: str
    message: str

    def set_in(
        self, conditions: tuple[GitOpsCondition, ...], now: datetime
    ) -> tuple[GitOpsCondition, ...]:
        """The conditions with this one in its place; its transition time moves with its status."""
        before = next((each for each in conditions if each.type == self.kind), None)
        stays = before is not None and before.status == self.status
        changed = GitOpsCondition(
            type=self.kind,
            status=self.status,
            reason=self.reason,
            message=self.message[:_MESSAGE_LENGTH],
            last_transition_at=before.last_transition_at if before and stays else now,
        )
        others = [each for each in conditions if each.type != self.kind]
        return tuple(sorted([changed, *others], key=lambda each: each.type))


_LISTED = Verdict(SOURCE_AVAILABLE, "True", "Listed", "The forge answers.")


class Reconciler:
    """Brings what is published of a repository up to its head."""

    def __init__(self, mirrors: Mirrors, reconciliations: Reconciliations, clock: Clock) -> None:
        self._mirrors = mirrors
        self._reconciliations = reconciliations
        self._clock = clock

    def reconcile(self, source: Source) -> bool:
        """Look at the repository; False when the look failed and shall be repeated."""
        if source.head is None:
            self._publish_empty(source)
            return True
        self._announce(source)
        try:
            snapshot = self._mirrors.fetch(source.owner, source.name, source.branch)
            self._judge(source, snapshot)
        except PlatformError as error:
            self._fail(source, "FetchFailed", redact(error.message))
            return False
        except Exception:  # noqa: BLE001 - one broken repository never stops others
            _log.exception("reconciliation_failed", owner=source.owner, name=source.name)
            self._fail(source, "InternalError", "The agent failed; its log says how.")
            return False
        return True

    def see_unchanged(self, source: Source) -> None:
        """The forge still has the revision that was looked at last."""
        self._change(source.owner, source.name, _LISTED, looked=True, keep=False)

    def source_lost(self, message: str) -> None:
        """The forge is away: what was seen stays, and says so."""
        lost = Verdict(SOURCE_AVAILABLE, "False", "FetchFailed", message)
        for owner, name in self._reconciliations.all():
            self._change(owner, name, lost, keep=False)

    def forget(self, owner: str, name: str) -> None:
        """The repository is gone."""
        self._reconciliations.forget(owner, name)
        self._mirrors.forget(owner, name)

    def _announce(self, source: Source) -> None:
        progressing = Verdict(READY, "Unknown", "Progressing", f"Looking at {source.head}.")
        self._change(source.owner, source.name, progressing, keep=False)

    def _judge(self, source: Source, snapshot: Snapshot) -> None:
        objects, problems = _read(snapshot)
        problems += validate_objects(objects)
        observed = {"observed_revision": snapshot.revision, "ancestors": snapshot.ancestors}
        if problems:
            verdict = Verdict(READY, "False", VALIDATION_FAILED, _told(problems))
            self._publish(source, verdict, observed)
            return
        message = f"Applied revision {snapshot.revision}: {len(objects)} objects."
        verdict = Verdict(READY, "True", "ReconciliationSucceeded", message)
        self._publish(source, verdict, {**observed, "applied_secrets": applied_secrets(objects)})

    def _fail(self, source: Source, reason: str, message: str) -> None:
        self._change(source.owner, source.name, Verdict(READY, "False", reason, message))

    def _publish_empty(self, source: Source) -> None:
        message = f"The branch {source.branch} has no commit yet."
        nothing = {"observed_revision": None, "ancestors": (), "applied_secrets": ()}
        self._publish(source, Verdict(READY, "Unknown", "Progressing", message), nothing)

    def _publish(self, source: Source, verdict: Verdict, facts: Mapping[str, object]) -> None:
        self._change(source.owner, source.name, _LISTED, verdict, facts=facts, looked=True)

    def _change(
        self,
        owner: str,
        name: str,
        *verdicts: Verdict,
        facts: Mapping[str, object] | None = None,
        looked: bool = False,
        keep: bool = True,
    ) -> None:
        """Set conditions and facts; `looked` says that the forge's present state was seen."""
        now = self._clock.now()

        def change(seen: Reconciliation | None) -> Reconciliation:
            before = seen or _unseen(owner, name)
            conditions = before.conditions if seen else _LISTED.set_in((), now)
            for verdict in verdicts:
                conditions = verdict.set_in(conditions, now)
            update = {"conditions": conditions, **(facts or {})}
            if looked:
                update["last_reconciled_at"] = now
            return before.model_copy(update=update)

        self._reconciliations.change(owner, name, change, keep=keep)


def _unseen(owner: str, name: str) -> Reconciliation:
    return Reconciliation(owner=owner, name=name, observed_revision=None, conditions=())


def _read(snapshot: Snapshot) -> tuple[list[ManifestObject], list[Problem]]:
    objects, problems = read_objects(snapshot.files)
    return objects, [*snapshot.refused, *problems]


def _told(problems: list[Problem]) -> str:
    told = "; ".join(str(problem) for problem in problems[:TOLD_PROBLEMS])
    more = len(problems) - TOLD_PROBLEMS
    return f"{told}; and {more} more" if more > 0 else told
