"""A secret's new credential beside the present one, and the end of all others.

Which version is the present one is decided by what the bindings pin, looked up each time. A new
credential never takes the place of a pinned one, so whatever a binding pins works at every moment.
The store knows first who rotates, then has the new version, then the issuer lets it in: a repeat
finds its own request at each of these places and goes on from there.

Where people may set values of their own, the newest that one wrote is the new credential, and none
is made in the place of a person's: what opens a door elsewhere cannot be drawn by lot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from execution_workers.failpoints import (
    CREDENTIAL_WRITTEN,
    LOGIN_RETIRED,
    PINS_SEEN,
    ROTATION_MARKED,
)
from execution_workers.gitops import GitOpsVerification
from execution_workers.manifests import binding_at
from execution_workers.ports import (
    Attempt,
    CredentialIssuer,
    Deed,
    GitForge,
    Made,
    Marker,
    Pin,
    Properties,
    Rotation,
    SecretStore,
    StoredSecret,
    StoredValue,
    foreign_owner,
    secret_lock,
)
from execution_workers.values_of_people import written_by_people
from idp_kernel.downstream import VALUE_SET_BY_PERSON
from idp_kernel.errors import ProviderRejected
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.worker import (
    CredentialIssuerName,
    IssueCredential,
    RetireCredential,
    RotatedSecret,
    UpdateSecretBindings,
)
from idp_kernel.workflows import ProviderEvent


@dataclass(frozen=True)
class RotationParties:
    """Who has a part in a rotation."""

    installation_id: str
    forge: GitForge
    store: SecretStore
    issuers: Mapping[CredentialIssuerName, CredentialIssuer]
    verification: GitOpsVerification

    def issuer_of(self, body: RotatedSecret) -> CredentialIssuer:
        return self.issuers[body.secret.issuer]

    def pins(self, body: RotatedSecret) -> Mapping[str, Pin]:
        """By binding id; each repository is read once."""
        found: dict[str, Pin] = {}
        for target in body.bindings:
            if target.binding_id not in found:
                of_repository = [
                    binding_at(body, each, 1)
                    for each in body.bindings
                    if each.repository == target.repository
                ]
                found.update(self.forge.pins(target.repository, of_repository))
        return found


@dataclass(frozen=True)
class IssuedVersion:
    """A version of the store with what it holds; for local variables."""

    number: int
    properties: Properties = field(repr=False)
    written_by: str


@dataclass(frozen=True)
class Present:
    """What is in use when a rotation looks."""

    stored: StoredSecret
    pinned: tuple[int, ...]
    """The versions that bindings pin, in order."""
    working: tuple[IssuedVersion, ...]
    """Those of them that can be read, in order."""

    @property
    def in_use(self) -> dict[int, Properties]:
        """By version; without properties for one that is gone, its users may have it still."""
        readable = {version.number: version.properties for version in self.working}
        return {number: readable.get(number, {}) for number in self.pinned}

    @property
    def newest(self) -> IssuedVersion | None:
        """The newest of the pinned versions; None when it cannot be read."""
        newest = self.working[-1] if self.working else None
        return newest if newest is not None and newest.number == self.pinned[-1] else None

    def unfinished(self, *, of_people: bool) -> IssuedVersion | None:
        """What another rotation has issued and moved a part of the bindings to."""
        newest = self.newest
        if len(self.pinned) < 2 or newest is None:
            return None
        return newest if newest.written_by or of_people else None


@dataclass(frozen=True)
class IssueAction:
    """A new credential beside the one that the bindings pin."""

    parties: RotationParties
    body: IssueCredential

    @property
    def item(self) -> str:
        return f"credential/{self.body.secret.secret_id}"

    @property
    def locks(self) -> tuple[str]:
        return (secret_lock(self.body.secret.secret_id),)

    @property
    def wanted(self) -> Mapping[str, object]:
        return self.body.model_dump(mode="json")

    def do(self, attempt: Attempt) -> Made:
        present = self._present(attempt)
        found = standing_credential(self.parties, self.body, present, attempt)
        replaces = _replaced(present, found, attempt)
        is_persons = found is not None and not found.written_by
        takes = found.number if found is not None and is_persons else None
        rotation = Rotation(attempt.request_id, replaces, takes)
        issued = found or self._written(present, rotation, attempt)
        if found is not None:
            self._marked(present, rotation, attempt)
        self._issuer.install(
            self.body.secret.secret_id,
            issued.properties,
            issued.number,
            attempt,
            team=self.body.subject.team,
            emergency=self.body.emergency,
        )
        is_ours = issued.written_by == attempt.request_id
        return Made(
            references=self._references(issued, replaces),
            created_by=issued.written_by,
            created=found is None,
            event=ProviderEvent.CREDENTIAL_ISSUER_CREDENTIAL_ISSUED if is_ours else None,
        )

    def _present(self, attempt: Attempt) -> Present:
        stored = required_secret(self.parties, self.body, attempt)
        return present_of(self.parties, self.body, stored, self.parties.pins(self.body))

    def _written(self, present: Present, rotation: Rotation, attempt: Attempt) -> IssuedVersion:
        properties = self._issuer.draft(
            self.body.secret.secret_id,
            present.in_use,
            team=self.body.subject.team,
            emergency=self.body.emergency,
        )
        self._marked(present, rotation, attempt)
        attempt.check_fence()
        number = self.parties.store.write(
            self.body.store_path,
            properties,
            written_by=attempt.request_id,
            newest_version=present.stored.version,
        )
        failpoint(CREDENTIAL_WRITTEN)
        return IssuedVersion(number, properties, attempt.request_id)

    def _marked(self, present: Present, rotation: Rotation, attempt: Attempt) -> None:
        stored = present.stored
        if stored.rotation != rotation:
            attempt.check_fence()
            self.parties.store.mark(self.body.store_path, stored, stored.marker, rotation)
            failpoint(ROTATION_MARKED)

    def _references(self, issued: IssuedVersion, replaces: int) -> dict[str, str | int]:
        references: dict[str, str | int] = {
            "secretId": self.body.secret.secret_id,
            "storePath": self.body.store_path,
            "version": issued.number,
            "replacesVersion": replaces,
        }
        role = issued.properties.get("username")
        return references if role is None else {**references, "role": role}

    @property
    def _issuer(self) -> CredentialIssuer:
        return self.parties.issuer_of(self.body)


@dataclass(frozen=True)
class MoveAction:
    """A binding's pin at the new version, which the store has still."""

    parties: RotationParties
    body: UpdateSecretBindings
    moved: Deed

    @property
    def item(self) -> str:
        return self.moved.item

    @property
    def locks(self) -> Sequence[str]:
        return self.moved.locks

    @property
    def wanted(self) -> Mapping[str, object]:
        return self.moved.wanted

    def do(self, attempt: Attempt) -> Made:
        stored = required_secret(self.parties, self.body, attempt)
        if self.body.version not in stored.live:
            raise ProviderRejected(
                f"{self.parties.store.provider} has version {self.body.version} of "
                f"{self.body.store_path} no more, so no binding was moved to it. Ask for a new "
                "rotation.",
                code="credential_missing",
            )
        return self.moved.do(attempt)


@dataclass(frozen=True)
class RetireAction:
    """The end of every credential of a secret but the one its bindings pin; for good. What a person
    has written since waits for its own rotation.
    """

    parties: RotationParties
    body: RetireCredential

    @property
    def item(self) -> str:
        return f"retirement/{self.body.secret.secret_id}"

    @property
    def locks(self) -> tuple[str]:
        return (secret_lock(self.body.secret.secret_id),)

    @property
    def wanted(self) -> Mapping[str, object]:
        return self.body.model_dump(mode="json")

    def do(self, attempt: Attempt) -> Made:
        stored = required_secret(self.parties, self.body, attempt)
        self._require_pinned()
        failpoint(PINS_SEEN)
        kept, issuer = self._kept(), self.parties.issuer_of(self.body)
        problem = issuer.verify(kept.properties, team=self.body.subject.team)
        if problem is not None:
            raise self._not_retired(f"it does not work: {problem}", "credential_broken")
        ended = issuer.retire_others(
            self.body.secret.secret_id,
            kept.properties,
            self.body.version,
            attempt,
            team=self.body.subject.team,
        )
        failpoint(LOGIN_RETIRED)
        others = sorted(stored.kept - {self.body.version} - self._written_since(stored))
        if others:
            attempt.check_fence()
            self.parties.store.end(self.body.store_path, others)
        rotated_by = stored.rotation.request_id if stored.rotation else attempt.request_id
        return Made(
            references={
                "version": self.body.version,
                "destroyedVersions": len(others),
                "endedSessions": ended,
            },
            created_by=rotated_by,
            created=bool(others),
            event=_event_if(
                ProviderEvent.CREDENTIAL_ISSUER_CREDENTIAL_RETIRED,
                told=bool(others) or rotated_by == attempt.request_id,
            ),
        )

    def _written_since(self, stored: StoredSecret) -> set[int]:
        if not self.parties.issuer_of(self.body).takes_values_of_people:
            return set()
        later = {number for number in stored.live if number > self.body.version}
        store = self.parties.store
        return {number for number, _ in written_by_people(store, self.body.store_path, later)}

    def _require_pinned(self) -> None:
        moved = [
            pin.found
            for pin in self.parties.pins(self.body).values()
            if pin.version != self.body.version
        ]
        if moved:
            found = f"not every binding pins it: {'; '.join(moved)}"
            raise self._not_retired(found, "binding_moved")

    def _kept(self) -> StoredValue:
        value = self.parties.store.read(self.body.store_path, self.body.version)
        if value is None:
            raise self._not_retired("the store has it no more", "credential_missing")
        return value

    def _not_retired(self, found: str, code: str) -> ProviderRejected:
        return ProviderRejected(
            f"Nothing but version {self.body.version} of {self.body.store_path} was to stay, but "
            f"{found}. Nothing was retired; put that right, or rotate again.",
            code=code,
        )


def required_secret(
    parties: RotationParties, body: RotatedSecret, attempt: Attempt
) -> StoredSecret:
    provider = parties.store.provider
    stored = parties.store.find(body.store_path)
    if stored is None:
        raise ProviderRejected(
            f"{provider} has no secret at {body.store_path}. Restore it from the store's backup.",
            code="secret_missing",
        )
    marker: Marker = attempt.marker(body.secret.secret_id)
    if not stored.marker.is_of_same_entity(marker):
        raise foreign_owner(provider, f"a secret at {body.store_path}")
    return stored


def present_of(
    parties: RotationParties, body: RotatedSecret, stored: StoredSecret, pins: Mapping[str, Pin]
) -> Present:
    """Raises `ProviderRejected` (`binding_missing`) unless every binding pins a version."""
    unclear = [pin.found for pin in pins.values() if pin.version is None]
    if unclear or not pins:
        found = "; ".join(unclear) or "it is bound nowhere"
        raise ProviderRejected(
            f"Which version of {body.store_path} is in use cannot be said: {found}. Revert the "
            "commit that removed or changed it.",
            code="binding_missing",
        )
    pinned = tuple(sorted({pin.version for pin in pins.values() if pin.version is not None}))
    return Present(stored, pinned, _readable(parties.store, body, stored, pinned))


def standing_credential(
    parties: RotationParties, body: IssueCredential, present: Present, attempt: Attempt
) -> IssuedVersion | None:
    """What is the new credential without another being made; None when one is to be made.

    Raises `ProviderRejected` (`value_set_by_person`) when only a person can say what it shall be.
    """
    own = issued_already(parties, body, present, attempt)
    if own is not None:
        return own
    of_people = parties.issuer_of(body).takes_values_of_people
    if of_people:
        later = {number for number in present.stored.live if number > present.pinned[-1]}
        for number, value in written_by_people(parties.store, body.store_path, later):
            return _version(number, value)
    # Both its versions are in use, so there is no place for a third: finish with it.
    unfinished = None if body.emergency else present.unfinished(of_people=of_people)
    if unfinished is None and of_people:
        _require_made_here(parties, body, present)
    return unfinished


def issued_already(
    parties: RotationParties, body: IssueCredential, present: Present, attempt: Attempt
) -> IssuedVersion | None:
    """What this request has written at an earlier try, or taken from a person; the bindings may pin
    it by now.
    """
    rotation, lowest = present.stored.rotation, present.pinned[-1]
    taken = None if rotation is None else rotation.takes_version
    if rotation is not None and rotation.request_id == attempt.request_id and taken is not None:
        value = parties.store.read(body.store_path, taken) if taken >= lowest else None
        if value is not None:
            return _version(taken, value)
    return _newest_own(parties, body, present.stored, attempt, lowest=lowest)


def _require_made_here(parties: RotationParties, body: RotatedSecret, present: Present) -> None:
    """Raises `ProviderRejected` (`value_set_by_person`) unless the platform made what is pinned."""
    newest = present.newest
    if newest is not None and newest.written_by:
        return
    cause = (
        "was set by a person"
        if newest is not None
        else f"cannot be read in {parties.store.provider}, so a person may have set it"
    )
    raise ProviderRejected(
        f"Version {present.pinned[-1]} of {body.store_path} is in use, and its value {cause}. A "
        "random one would not open what that opens, in an emergency neither: write the new one at "
        f"the store first (idp secret login {body.secret.secret_id}), then rotate. Nothing was "
        "changed.",
        code=VALUE_SET_BY_PERSON,
    )


def _newest_own(
    parties: RotationParties,
    body: IssueCredential,
    stored: StoredSecret,
    attempt: Attempt,
    *,
    lowest: int,
) -> IssuedVersion | None:
    for number in sorted(stored.live, reverse=True):
        if number < lowest:
            break
        value = parties.store.read(body.store_path, number)
        if value is not None and value.written_by == attempt.request_id:
            return _version(number, value)
    return None


def _readable(
    store: SecretStore, body: RotatedSecret, stored: StoredSecret, versions: tuple[int, ...]
) -> tuple[IssuedVersion, ...]:
    values = (
        (number, store.read(body.store_path, number))
        for number in versions
        if number in stored.live
    )
    return tuple(_version(number, value) for number, value in values if value is not None)


def _version(number: int, value: StoredValue) -> IssuedVersion:
    return IssuedVersion(number, value.properties, value.written_by)


def _replaced(present: Present, found: IssuedVersion | None, attempt: Attempt) -> int:
    """Which version the new one replaces; a repeat says what its first try has."""
    rotation = present.stored.rotation
    if found is not None and rotation is not None and rotation.request_id == attempt.request_id:
        return rotation.replaces_version
    others = [number for number in present.pinned if found is None or number != found.number]
    return (others or list(present.pinned))[-1]


def _event_if(event: ProviderEvent, *, told: bool) -> ProviderEvent | None:
    return event if told else None
