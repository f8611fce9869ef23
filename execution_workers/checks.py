"""Whether what was provisioned still stands as it should, at those who have it.

Each check takes a batch and answers a finding for each thing, in order. Whoever cannot be asked
makes the call fail: nothing is called wrong that was not seen. A repository that cannot be read,
while its forge answers, is wrong itself, and no hindrance to the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import TypeVar

from execution_workers.gitops import ready_condition
from execution_workers.ledger.errors import workers_busy
from execution_workers.manifests import binding_at
from execution_workers.ports import (
    CredentialIssuer,
    GitForge,
    GitOpsAgent,
    Marker,
    Pin,
    SecretStore,
)
from idp_kernel.clock import Clock
from idp_kernel.errors import InvalidInput, PlatformError
from idp_kernel.wire.worker import (
    AppEnvExpected,
    AppEnvSubject,
    ArchiveRepositories,
    BindingTarget,
    CredentialIssuerName,
    EnsureRepositories,
    Finding,
    Findings,
    RepositoryKind,
    RepositoryWanted,
    SecretExpected,
    SecretWanted,
    Subject,
    VerifySecretEnded,
    VerifyUndone,
)

LOOKS_AT_ONCE = 4
"""Over all calls: the rest of each provider's slots is for those who change something."""
CALLS_AT_ONCE = 4
Expected = TypeVar("Expected")


class Checks:
    """Looks at forge, agent and store; changes nothing. Thread-safe."""

    def __init__(
        self,
        forge: GitForge,
        store: SecretStore,
        issuers: Mapping[CredentialIssuerName, CredentialIssuer],
        agent: GitOpsAgent,
        clock: Clock,
        *,
        installation_id: str,
    ) -> None:
        self._forge = forge
        self._store = store
        self._issuers = issuers
        self._agent = agent
        self._clock = clock
        self._installation_id = installation_id
        self._free_calls = threading.BoundedSemaphore(CALLS_AT_ONCE)
        self._pool = ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="checks")

    def close(self) -> None:
        """Starts no further look."""
        self._pool.shutdown(cancel_futures=True)

    def repositories_free(self, wanted: EnsureRepositories) -> Findings:
        """Whether each repository can be created or adopted."""
        return self._findings(self._repository_free, wanted.repositories)

    def undone(self, wanted: VerifyUndone) -> Findings:
        """Whether forge, agent and store have no more what was undone."""
        looks: list[Callable[[], Finding]] = [
            *(partial(self._repository_gone, each) for each in wanted.repositories),
            *(partial(self._secret_gone, wanted.subject, each) for each in wanted.secrets),
        ]
        return self._findings(lambda look: look(), looks)

    def repositories_archived(self, wanted: ArchiveRepositories) -> Findings:
        """Whether each is archived or gone, and the agent has it no more."""
        return self._findings(self._repository_archived, wanted.repositories)

    def secret_ended(self, wanted: VerifySecretEnded) -> Findings:
        """Whether store, issuer, forge and agent have no more what was ended; the secret's own
        finding first, then one for each binding.
        """
        looks: list[Callable[[], Finding]] = [
            partial(self._secret_ended, wanted),
            *(partial(self._binding_gone, wanted, each) for each in wanted.bindings),
        ]
        return self._findings(lambda look: look(), looks)

    def repositories_protected(self, items: Sequence[AppEnvExpected]) -> Findings:
        """Whether each repository is there and guarded at least as much as it should be."""
        return self._findings(self._repository_protected, items)

    def bindings_present(self, items: Sequence[AppEnvExpected]) -> Findings:
        """Whether the manifest of each binding pins the version it should."""
        return self._findings(self._bindings_present, items)

    def gitops_reconciled(self, items: Sequence[AppEnvExpected]) -> Findings:
        """Whether the agent is ready, at our revision or one that descends from it."""
        return self._findings(self._gitops_reconciled, items)

    def secrets_within_policy(self, items: Sequence[SecretExpected]) -> Findings:
        """Whether each version is there, no older than it may be, and let in by its issuer."""
        return self._findings(self._secret_within_policy, items)

    def _findings(self, look: Callable[[Expected], Finding], items: Sequence[Expected]) -> Findings:
        """Raises what the first look raised, and `Unavailable` (`workers_busy`) at once when too
        many calls are under way.
        """
        if not self._free_calls.acquire(blocking=False):
            raise workers_busy()
        looks = [self._pool.submit(copy_context().run, look, item) for item in items]
        try:
            return Findings(items=tuple(each.result() for each in looks))
        finally:
            for each in looks:
                each.cancel()
            self._free_calls.release()

    def _repository_free(self, wanted: RepositoryWanted) -> Finding:
        name = _name(wanted)
        found = self._forge.standing(wanted)
        is_foreign = found is not None and not self._is_own(found.marker, wanted.repository_id)
        if found is None:
            words = f"there is no repository {name}"
        else:
            words = f"a repository {name} is there, {'not ' if is_foreign else ''}made for this"
            if is_foreign and found.how_to_adopt:
                words = f"{words}. {found.how_to_adopt}"
        return Finding(
            id=wanted.repository_id,
            passed=not is_foreign,
            expected=f"{name} is free, or was made by this platform for the same",
            found=words,
        )

    def _repository_gone(self, wanted: RepositoryWanted) -> Finding:
        name = _name(wanted)
        found = self._forge.standing(wanted)
        is_there = found is not None and self._is_own(found.marker, wanted.repository_id)
        is_listed = self._is_listed(wanted)
        if is_there:
            words = f"the repository {name} is there"
        elif is_listed:
            words = f"the agent knows {name}"
        else:
            words = f"nobody has {name}"
        return Finding(
            id=wanted.repository_id,
            passed=not is_there and not is_listed,
            expected=f"nobody has {name}",
            found=words,
        )

    def _secret_gone(self, subject: Subject, wanted: SecretWanted) -> Finding:
        if not isinstance(subject, AppEnvSubject):
            raise InvalidInput("Secrets belong to an application environment.")
        path = self._store.path_of(subject, wanted.name)
        found = self._store.find(path)
        is_there = found is not None and self._is_own(found.marker, wanted.secret_id)
        return Finding(
            id=wanted.secret_id,
            passed=not is_there,
            expected=f"there is no secret at {path}",
            found=f"a secret is at {path}" if is_there else f"there is no secret at {path}",
        )

    def _repository_archived(self, wanted: RepositoryWanted) -> Finding:
        name = _name(wanted)
        found = self._forge.standing(wanted)
        is_open = found is not None and not found.is_archived
        is_listed = self._is_listed(wanted)
        if is_open:
            words = f"the repository {name} takes commits"
        elif is_listed:
            words = f"the agent still has {name}: remove what makes it apply that repository"
        else:
            words = f"{name} is archived" if found is not None else f"nobody has {name}"
        return Finding(
            id=wanted.repository_id,
            passed=not is_open and not is_listed,
            expected=f"{name} is archived, and no agent applies it",
            found=words,
        )

    def _is_listed(self, wanted: RepositoryWanted) -> bool:
        """Whether the agent knows the repository; it looks at those of environments alone."""
        return wanted.kind is RepositoryKind.APPLICATION_ENVIRONMENT and (
            self._agent.reconciliation(wanted.owner, wanted.name) is not None
        )

    def _secret_ended(self, wanted: VerifySecretEnded) -> Finding:
        stored = self._store.find(wanted.store_path)
        kept = () if stored is None else sorted(stored.kept)
        issuer = self._issuers[wanted.secret.issuer]
        logins = issuer.logins_let_in(wanted.secret.secret_id)
        standing = [
            *(f"version {each} of {wanted.store_path} is kept" for each in kept),
            *(f"the login {each} is let in" for each in logins),
        ]
        nothing = f"nothing of {wanted.store_path} is kept or let in"
        return Finding(
            id=wanted.secret.secret_id,
            passed=not standing,
            expected=nothing,
            found="; ".join(standing) or nothing,
        )

    def _binding_gone(self, wanted: VerifySecretEnded, target: BindingTarget) -> Finding:
        name = _name(target.repository)
        seen = self._agent.reconciliation(target.repository.owner, target.repository.name)
        is_applied = seen is not None and any(
            each.remote_key == wanted.store_path for each in seen.applied_secrets
        )
        binding = binding_at(wanted, target, 1)
        is_bound = self._forge.standing(target.repository) is not None and (
            self._forge.pins(target.repository, [binding])[target.binding_id].is_there
        )
        if is_bound:
            words = f"{name} has the binding {target.name}"
        elif is_applied:
            words = f"the agent still brings {target.name}"
        else:
            words = f"neither {name} nor the agent has {target.name}"
        return Finding(
            id=target.binding_id,
            passed=not is_bound and not is_applied,
            expected=f"neither {name} nor the agent has {target.name}",
            found=words,
        )

    def _repository_protected(self, expected: AppEnvExpected) -> Finding:
        branch, wanted = expected.repository.default_branch, expected.required_approvals
        name, found = _name(expected.repository), self._forge.standing(expected.repository)
        passed = False
        if found is None:
            words = f"there is no repository {name}"
        elif not self._is_own(found.marker, expected.repository.repository_id):
            words = f"the repository {name} was not made by this platform for this environment"
        elif found.required_approvals is None:
            words = f"{branch} of {name} is not protected"
        else:
            passed = found.required_approvals >= wanted and not found.weaknesses
            approvals = _approvals(found.required_approvals)
            words = f"{branch} of {name} is protected and needs {approvals}"
            words = "; but ".join((words, *found.weaknesses))
        return _finding(
            expected,
            f"{branch} of {name} is protected and needs at least {_approvals(wanted)}",
            words,
            passed=passed,
        )

    def _bindings_present(self, expected: AppEnvExpected) -> Finding:
        name = _name(expected.repository)
        wanted = "; ".join(f"{each.name} at version {each.version}" for each in expected.bindings)
        expectation = f"{name} binds {wanted or 'nothing'}"
        if self._forge.standing(expected.repository) is None:
            return _finding(expected, expectation, f"there is no repository {name}", passed=False)
        try:
            pins = self._pins(expected)
        except PlatformError as error:
            return self._unreadable(expected, expectation, error)
        wrong = [
            pins[each.binding_id].found
            for each in expected.bindings
            if pins[each.binding_id].version != each.version
        ]
        words = "; ".join(wrong) or expectation
        return _finding(expected, expectation, words, passed=not wrong)

    def _pins(self, expected: AppEnvExpected) -> dict[str, Pin]:
        if not expected.bindings:
            return {}
        return dict(self._forge.pins(expected.repository, expected.bindings))

    def _gitops_reconciled(self, expected: AppEnvExpected) -> Finding:
        seen = self._agent.reconciliation(expected.repository.owner, expected.repository.name)
        expectation = f"the agent is ready at {expected.revision} or a commit that follows it"
        if seen is None:
            name, standing = _name(expected.repository), self._forge.standing(expected.repository)
            words = f"the agent does not know {name}"
            if standing is not None and standing.is_archived:
                words = (
                    f"{name} is archived, so no agent applies it: have it unarchived at the forge"
                )
            return _finding(expected, expectation, words, passed=False)
        ready, observed = ready_condition(seen), seen.observed_revision or "no revision"
        words = f"the agent is at {observed}, Ready is {ready.status}: {ready.message}"
        if ready.status != "True":
            return _finding(expected, expectation, words, passed=False)
        has_ours = expected.revision in (seen.observed_revision, *seen.ancestors)
        # An agent tells only so many ancestors; the forge knows them all.
        try:
            passed = has_ours or self._is_followed_by(expected, seen.observed_revision)
        except PlatformError as error:
            return self._unreadable(expected, expectation, error)
        return _finding(expected, expectation, words, passed=passed)

    def _is_followed_by(self, expected: AppEnvExpected, observed: str | None) -> bool:
        if observed is None or self._forge.standing(expected.repository) is None:
            return False
        return self._forge.is_followed_by(expected.repository, expected.revision, observed)

    def _unreadable(
        self, expected: AppEnvExpected, expectation: str, error: PlatformError
    ) -> Finding:
        """Raises the error unless it is this repository's own."""
        if not self._forge.concerns_one(expected.repository, error):
            raise error
        words = f"{_name(expected.repository)} cannot be read: {error.message}"
        return _finding(expected, expectation, words, passed=False)

    def _secret_within_policy(self, expected: SecretExpected) -> Finding:
        longest = timedelta(seconds=expected.longest_age_seconds)
        passed, words = self._standing_version(expected, longest)
        return Finding(
            id=expected.secret.secret_id,
            passed=passed,
            expected=f"version {expected.version} at {expected.store_path} works and is at most "
            f"{longest} old",
            found=words,
        )

    def _standing_version(self, expected: SecretExpected, longest: timedelta) -> tuple[bool, str]:
        stored = self._store.find(expected.store_path)
        if stored is None:
            return False, f"there is no secret at {expected.store_path}"
        if not self._is_own(stored.marker, expected.secret.secret_id):
            return False, f"the secret at {expected.store_path} was not made for this"
        written_at = stored.live.get(expected.version)
        if written_at is None and expected.version in stored.kept:
            return False, f"version {expected.version} is deleted"
        if written_at is None:
            is_known = expected.version <= stored.version
            state = "has ended" if is_known else "was never written"
            return False, f"version {expected.version} {state}"
        age = timedelta(seconds=round((self._clock.now() - written_at).total_seconds()))
        if age > longest:
            return False, f"version {expected.version} is {age} old"
        issuer = self._issuers[expected.secret.issuer]
        problem = issuer.problem_with(expected.secret.secret_id, expected.version)
        return problem is None, problem or f"version {expected.version} is {age} old"

    def _is_own(self, marker: Marker, entity_id: str) -> bool:
        return marker.is_of_same_entity(Marker(self._installation_id, entity_id, ""))


def _finding(expected: AppEnvExpected, expectation: str, found: str, *, passed: bool) -> Finding:
    return Finding(
        id=expected.subject.application_environment_id,
        passed=passed,
        expected=expectation,
        found=found,
    )


def _name(repository: RepositoryWanted) -> str:
    return f"{repository.owner}/{repository.name}"


def _approvals(count: int) -> str:
    return "1 approval" if count == 1 else f"{count} approvals"
