"""Secret bindings as manifests: all of an environment's, one whose pin moves, one that goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from execution_workers.manifests import binding_manifest, binding_path, is_binding_of, pin_of
from execution_workers.ports import (
    Attempt,
    BindingMove,
    Made,
    Pin,
    Undone,
    foreign_owner,
    secret_lock,
)
from execution_workers.providers.forges.git import BranchCopy, Commit
from execution_workers.providers.forges.host import ForgeHost, HostedRepository
from execution_workers.providers.forges.pushes import (
    commit_message,
    committed,
    has_added,
    is_of,
    pushed,
    removed,
    withdraw,
)
from execution_workers.providers.forges.standing import (
    as_json,
    missing,
    own_repository,
    require_unarchived,
    required_repository,
)
from idp_kernel.errors import InvalidInput, ProviderRejected
from idp_kernel.wire.worker import (
    AppEnvSubject,
    EffectKind,
    RepositoryWanted,
    SecretBindingWanted,
)
from idp_kernel.workflows import ProviderEvent


@dataclass(frozen=True)
class BindingsAction:
    """All secret bindings of an application environment, in one commit on the default branch."""

    host: ForgeHost
    subject: AppEnvSubject
    repository: RepositoryWanted
    bindings: tuple[SecretBindingWanted, ...]

    def __post_init__(self) -> None:
        names = [binding.name for binding in self.bindings]
        if len(set(names)) != len(names):
            raise InvalidInput("Two bindings have the same name.", code="duplicate_binding")

    @property
    def item(self) -> str:
        return f"bindings/{self.subject.application_environment_id}"

    @property
    def locks(self) -> tuple[str, ...]:
        return (self.item, *sorted({secret_lock(each.secret_id) for each in self.bindings}))

    @property
    def wanted(self) -> Mapping[str, object]:
        return as_json(
            self.subject,
            repository=self.repository.model_dump(mode="json"),
            bindings=[binding.model_dump(mode="json") for binding in self.bindings],
        )

    def do(self, attempt: Attempt) -> Made:
        marker = attempt.marker(self.repository.repository_id)
        required_repository(self.host, self.repository, marker)
        return pushed(
            self.host,
            self.repository,
            lambda copy: self._bound(copy, attempt),
            topic=self.item,
            attempt=attempt,
        )

    def undo(self, attempt: Attempt) -> Undone:
        """A commit that removes the manifests which this request added and nobody changed."""
        if self.host.find(self.repository) is None:
            return Undone(EffectKind.ABSENT, {})
        withdraw(self.host, self.repository, self.item, attempt)
        return pushed(
            self.host,
            self.repository,
            lambda copy: self._unbound(copy, attempt),
            topic=f"undo/{self.item}",
            attempt=attempt,
        )

    def _bound(self, copy: BranchCopy, attempt: Attempt) -> Made:
        if copy.head is None:
            raise missing(self.host, f"{self._name} has no commit yet")
        contents = self._contents(attempt)
        present = copy.files(list(contents))
        changed = {
            path: content
            for path, content in contents.items()
            if present.get(path) != copy.content_id(content)
        }
        if not changed:
            return self._adopted(copy.last_commit(list(contents)), attempt)
        by_path = {binding_path(binding): binding for binding in self.bindings}
        for path in changed:
            _require_ours(copy, by_path[path], present.get(path), attempt)
        message = commit_message(f"Bind {_count(changed)} of {self._name}", self.item, attempt)
        return Made(
            references={"revision": committed(copy, changed, message, attempt)},
            created_by=attempt.request_id,
            created=True,
            event=ProviderEvent.GIT_SECRET_BINDINGS_COMMITTED,
        )

    def _adopted(self, commit: Commit, attempt: Attempt) -> Made:
        is_ours = is_of(commit, self.item, attempt)
        is_this_requests = is_ours and commit.request_id == attempt.request_id
        return Made(
            references={"revision": commit.revision},
            created_by=commit.request_id if is_ours else "",
            created=False,
            event=ProviderEvent.GIT_SECRET_BINDINGS_COMMITTED if is_this_requests else None,
        )

    def _unbound(self, copy: BranchCopy, attempt: Attempt) -> Undone:
        contents = self._contents(attempt)
        present = copy.files(list(contents))
        if not present:
            return Undone(EffectKind.ABSENT, {})
        removable = [
            path for path in present if has_added(copy, path, contents[path], self.item, attempt)
        ]
        if not removable:
            return Undone(EffectKind.KEPT, {})
        message = commit_message(f"Unbind {_count(removable)} of {self._name}", self.item, attempt)
        revision = removed(copy, removable, message, attempt)
        return Undone(EffectKind.UNDONE, {"revision": revision})

    def _contents(self, attempt: Attempt) -> dict[str, bytes]:
        return {
            binding_path(binding): binding_manifest(self.subject, binding, attempt.installation_id)
            for binding in self.bindings
        }

    @property
    def _name(self) -> str:
        return self.host.full_name(self.repository)


@dataclass(frozen=True)
class MovedBindingAction:
    """One binding at another version, in one commit with its neighbours'."""

    host: ForgeHost
    move: BindingMove

    @property
    def item(self) -> str:
        return f"binding/{self.move.binding.binding_id}"

    @property
    def locks(self) -> tuple[str]:
        return (secret_lock(self.move.binding.secret_id),)

    @property
    def wanted(self) -> Mapping[str, object]:
        return self.move.asked

    def do(self, attempt: Attempt) -> Made:
        repository = self.move.repository
        required_repository(self.host, repository, attempt.marker(repository.repository_id))
        return pushed(
            self.host,
            repository,
            lambda copy: self._moved(copy, attempt),
            topic=self._entity,
            attempt=attempt,
        )

    def _moved(self, copy: BranchCopy, attempt: Attempt) -> Made:
        present = copy.files([self._path])
        wanted = self._content(self.move.binding, attempt)
        if present.get(self._path) == copy.content_id(wanted):
            return self._as_found(copy.last_commit([self._path]), attempt)
        changed = {}
        for binding in self.move.neighbours:
            standing = copy.files([binding_path(binding)]).get(binding_path(binding))
            if standing is None:
                raise _binding_missing(self.host, self.move.repository, binding)
            _require_ours(copy, binding, standing, attempt)
            self._require_unmoved(copy, binding, standing, attempt)
            changed[binding_path(binding)] = self._content(binding, attempt)
        message = commit_message(
            f"Pin version {self.move.binding.version} of {self.move.binding.name}",
            self._entity,
            attempt,
        )
        return Made(
            references=self._references(committed(copy, changed, message, attempt)),
            created_by=attempt.request_id,
            created=True,
            event=ProviderEvent.GIT_SECRET_BINDINGS_UPDATED,
        )

    def _require_unmoved(
        self, copy: BranchCopy, binding: SecretBindingWanted, content_id: str, attempt: Attempt
    ) -> None:
        """Somebody else's choice, or a later rotation's, is not overwritten."""
        pin = pin_of(_content_at(copy, content_id), binding, attempt.installation_id)
        replaced, wanted = self.move.replaces_version, binding.version
        if pin.version not in (replaced, wanted):
            raise ProviderRejected(
                f"Version {wanted} of {binding.store_path} was to replace version {replaced} in "
                f"{self.host.full_name(self.move.repository)}, but there {pin.found}. "
                "Nothing was moved; ask for a new rotation.",
                code="binding_moved",
            )

    def _as_found(self, commit: Commit, attempt: Attempt) -> Made:
        is_ours = is_of(commit, self._entity, attempt)
        is_this_requests = is_ours and commit.request_id == attempt.request_id
        return Made(
            references=self._references(commit.revision),
            created_by=commit.request_id if is_ours else "",
            created=False,
            event=ProviderEvent.GIT_SECRET_BINDINGS_UPDATED if is_this_requests else None,
        )

    def _content(self, binding: SecretBindingWanted, attempt: Attempt) -> bytes:
        return binding_manifest(self.move.subject, binding, attempt.installation_id)

    def _references(self, revision: str) -> dict[str, str | int]:
        return {"revision": revision, "version": self.move.binding.version}

    @property
    def _path(self) -> str:
        return binding_path(self.move.binding)

    @property
    def _entity(self) -> str:
        """Of the commits: neighbours move together."""
        return f"rotation/{self.move.binding.secret_id}"


@dataclass(frozen=True)
class RemovedBindingAction:
    """One binding's manifest removed, in one commit; for good."""

    host: ForgeHost
    repository: RepositoryWanted
    binding: SecretBindingWanted
    asked: Mapping[str, object]

    @property
    def item(self) -> str:
        return f"binding/{self.binding.binding_id}"

    @property
    def locks(self) -> tuple[str]:
        return (secret_lock(self.binding.secret_id),)

    @property
    def wanted(self) -> Mapping[str, object]:
        return self.asked

    def do(self, attempt: Attempt) -> Made:
        """A repository that is gone has taken the manifest with it."""
        marker = attempt.marker(self.repository.repository_id)
        found = own_repository(self.host, self.repository, marker)
        if found is None:
            return Made(references={}, created_by="", created=False)
        return pushed(
            self.host,
            self.repository,
            lambda copy: self._removed(copy, found, attempt),
            topic=f"end/{self.item}",
            attempt=attempt,
        )

    def _removed(self, copy: BranchCopy, found: HostedRepository, attempt: Attempt) -> Made:
        path = binding_path(self.binding)
        present = copy.files([path]).get(path)
        if present is None:
            return self._as_found(copy.last_change(path), attempt)
        require_unarchived(self.host, self.repository, found)
        _require_ours(copy, self.binding, present, attempt)
        message = commit_message(f"Remove the binding of {self.binding.name}", self.item, attempt)
        return Made(
            references={"revision": removed(copy, [path], message, attempt)},
            created_by=attempt.request_id,
            created=True,
            event=ProviderEvent.GIT_SECRET_BINDINGS_REMOVED,
        )

    def _as_found(self, commit: Commit | None, attempt: Attempt) -> Made:
        if commit is None:
            return Made(references={}, created_by="", created=False)
        is_ours = is_of(commit, self.item, attempt)
        is_this_requests = is_ours and commit.request_id == attempt.request_id
        return Made(
            references={"revision": commit.revision},
            created_by=commit.request_id if is_ours else "",
            created=False,
            event=ProviderEvent.GIT_SECRET_BINDINGS_REMOVED if is_this_requests else None,
        )


def read_pins(
    host: ForgeHost,
    repository: RepositoryWanted,
    bindings: Sequence[SecretBindingWanted],
    installation_id: str,
) -> dict[str, Pin]:
    """By binding id, what the default branch has now."""
    with host.git(repository).copy(repository.default_branch) as copy:
        present = copy.files([binding_path(binding) for binding in bindings])
        return {
            binding.binding_id: pin_of(
                _content_at(copy, present.get(binding_path(binding))), binding, installation_id
            )
            for binding in bindings
        }


def _content_at(copy: BranchCopy, content_id: str | None) -> bytes | None:
    """None when there is no file; one that is larger than ours is nobody's manifest."""
    return None if content_id is None else copy.content(content_id) or b""


def _require_ours(
    copy: BranchCopy, binding: SecretBindingWanted, content_id: str | None, attempt: Attempt
) -> None:
    """A managed path that holds another one's manifest is not overwritten."""
    if content_id is None:
        return
    content = copy.content(content_id)
    if content is None or not is_binding_of(content, binding, attempt.installation_id):
        raise foreign_owner(copy.provider, f"another manifest at {binding_path(binding)}")


def _binding_missing(
    host: ForgeHost, repository: RepositoryWanted, binding: SecretBindingWanted
) -> ProviderRejected:
    return ProviderRejected(
        f"{host.provider}: there is no {binding_path(binding)} in "
        f"{host.full_name(repository)}. Revert the commit that removed or "
        "changed it.",
        code="binding_missing",
    )


def _count(paths: Mapping[str, object] | Sequence[str]) -> str:
    return "1 secret" if len(paths) == 1 else f"{len(paths)} secrets"
