"""What a rotation looks at between its effects; a probe always looks again and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from execution_workers.manifests import binding_at
from execution_workers.ports import Attempt, Pin, Sessions
from execution_workers.rotation import (
    IssuedVersion,
    RotationParties,
    present_of,
    required_secret,
    standing_credential,
)
from idp_kernel.downstream import VALUE_SET_BY_PERSON
from idp_kernel.errors import ProviderRejected
from idp_kernel.wire.worker import (
    BindingTarget,
    ConsumersState,
    ConsumersVerdict,
    CredentialVerdict,
    Finding,
    Findings,
    GitOpsState,
    GitOpsVerdict,
    IssueCredential,
    ObserveConsumers,
    VerifyCredential,
    VerifyGitOps,
)
from idp_kernel.workflows import ProviderEvent


def validate(parties: RotationParties, body: IssueCredential, request_id: str) -> Findings:
    """The secret's own finding first, then one for each binding.

    Raises `ProviderRejected` (`value_set_by_person`) as issuing would: nothing is to be mended.
    """
    pins = parties.pins(body)
    items = [_secret_finding(parties, body, pins, request_id)]
    for target in body.bindings:
        pin = pins[target.binding_id]
        items.append(
            Finding(
                id=target.binding_id,
                passed=pin.version is not None,
                expected=f"the binding {target.name} pins one version of {body.store_path}",
                found=pin.found,
            )
        )
    return Findings(items=tuple(items))


def verify(parties: RotationParties, body: VerifyCredential) -> CredentialVerdict:
    """Uses the credential once, as its consumers will."""
    value = parties.store.read(body.store_path, body.version)
    if value is None:
        problem: str | None = "the store has no such version to read"
    else:
        problem = parties.issuer_of(body).verify(value.properties, team=body.subject.team)
    version = f"Version {body.version} of {body.store_path}"
    event = ProviderEvent.CREDENTIAL_ISSUER_CREDENTIAL_VERIFIED
    return CredentialVerdict(
        works=problem is None,
        message=f"{version} works." if problem is None else f"{version} does not work: {problem}.",
        events=(event,) if problem is None else (),
    )


def observe_consumers(parties: RotationParties, body: ObserveConsumers) -> ConsumersVerdict:
    """Whether every binding is applied at the new version, and who uses which credential."""
    verdicts = [_applied(parties, body, target) for target in body.bindings]
    waiting = [each for each in verdicts if each.state is not GitOpsState.RECONCILED]
    value = parties.store.read(body.store_path, body.version)
    sessions = None
    if value is not None:
        sessions = parties.issuer_of(body).sessions(body.secret.secret_id, value.properties)
    state, message = _judge(waiting, sessions, emergency=body.emergency)
    confirmed = state is ConsumersState.CONFIRMED
    return ConsumersVerdict(
        state=state,
        message=message,
        sessions_on_new=None if sessions is None else sessions.on_new,
        sessions_on_old=None if sessions is None else sessions.on_old,
        events=(ProviderEvent.GITOPS_CONSUMERS_CONFIRMED,) if confirmed else (),
    )


def _judge(
    waiting: list[GitOpsVerdict], sessions: Sessions | None, *, emergency: bool
) -> tuple[ConsumersState, str]:
    if waiting:
        return ConsumersState.PENDING, " ".join(each.message for each in waiting)
    if emergency:
        return ConsumersState.CONFIRMED, "Every binding is applied: enough in an emergency."
    if sessions is None:
        return ConsumersState.UNKNOWN, "Every binding is applied; nobody knows who reads them."
    seen = f"{sessions.on_new} sessions on the new login, {sessions.on_old} on the old."
    if sessions.on_new or not sessions.on_old:
        return ConsumersState.CONFIRMED, f"Every binding is applied. {seen}"
    return ConsumersState.PENDING, f"Every binding is applied, nobody has taken it up yet. {seen}"


def _applied(
    parties: RotationParties, body: ObserveConsumers, target: BindingTarget
) -> GitOpsVerdict:
    revision = body.revisions.get(target.binding_id)
    if revision is None:
        return GitOpsVerdict(
            state=GitOpsState.PROGRESSING,
            expected_revision="",
            observed_revision=None,
            message=f"No commit is known that moved the binding {target.name}.",
        )
    return parties.verification.verify(
        VerifyGitOps(
            subject=target.subject,
            repository=target.repository,
            revision=revision,
            bindings=(binding_at(body, target, body.version),),
        )
    )


def _secret_finding(
    parties: RotationParties, body: IssueCredential, pins: Mapping[str, Pin], request_id: str
) -> Finding:
    expected = f"a secret of the platform at {body.store_path}, with place for a new credential"
    attempt = Attempt(parties.installation_id, request_id, lambda: None)
    try:
        found = _place_found(parties, body, pins, attempt)
    except ProviderRejected as refusal:
        if refusal.code == VALUE_SET_BY_PERSON:
            raise
        return Finding(
            id=body.secret.secret_id, passed=False, expected=expected, found=refusal.message
        )
    return Finding(id=body.secret.secret_id, passed=True, expected=expected, found=found)


def _place_found(
    parties: RotationParties, body: IssueCredential, pins: Mapping[str, Pin], attempt: Attempt
) -> str:
    """Raises `ProviderRejected` where issuing would. A request that has issued its credential
    already needs no other place, whoever still uses the one that it replaces.
    """
    stored = required_secret(parties, body, attempt)
    present = present_of(parties, body, stored, pins)
    standing = standing_credential(parties, body, present, attempt)
    if standing is not None:
        return f"its version {standing.number} is the new credential, {_origin(standing, attempt)}"
    parties.issuer_of(body).draft(
        body.secret.secret_id,
        present.in_use,
        team=body.subject.team,
        emergency=body.emergency,
    )
    return f"its newest version is {stored.version}, and a new credential has a place"


def _origin(standing: IssuedVersion, attempt: Attempt) -> str:
    if standing.written_by == attempt.request_id:
        return "issued by this request before"
    return "issued by a request before" if standing.written_by else "written by a person"
