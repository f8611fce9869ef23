"""Secrets as the documents of a file together declare them, compared with those that are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from idp_cli.api import ROTATION_POLICY, SECRET, SECRET_MOVE
from idp_cli.declarations.differences import ACTIVE, SUSPENDED, SUSPENSIONS, if_unchanged
from idp_cli.declarations.documents import Location
from idp_cli.declarations.kinds import (
    SECRET_FIELDS,
    DeclaredApplicationEnvironment,
    DeclaredRotation,
    DeclaredSecret,
    Kind,
)
from idp_cli.declarations.plans import Action, Change, Command, FieldChange
from idp_cli.declarations.present import Present
from idp_cli.declarations.reading import Declarations, Placed
from idp_cli.durations import duration_text
from idp_cli.rotation_policies import changed_policy, window_or_any_text
from idp_kernel.wire.api import (
    ApplicationEnvironment,
    DeclareSecret,
    RotationPolicy,
    RotationWindow,
    Secret,
    SecretSummary,
)

DECLARED, PROVISIONING, ROTATING = "Declared", "Provisioning", "Rotating"
OVER = ("Revoked", "Archived")
"""A secret in these states has no value and gets none again."""
_WHY_FIXED = {
    "issuer": "what one issuer made no other takes back",
    "purpose": "it is what the secret was provisioned as",
    "sensitivity": "it is what the secret was provisioned as; its rotation can be declared",
}
"""Why a field of a secret stays as it is for ever."""


@dataclass(frozen=True)
class Mention:
    """One place where the file speaks of a secret; set in `declared` is what it gives there."""

    declared: DeclareSecret
    placed: Placed
    location: Location = ()

    def place(self, *field: str) -> str:
        """Where a field of it stands, as a complaint begins."""
        return self.placed.place(*self.location, *field)


@dataclass(frozen=True)
class WantedSecret:
    """One secret of an application environment, as all places that speak of it together have it."""

    mentions: tuple[Mention, ...]
    """One at least."""

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def declared(self) -> DeclareSecret:
        """Set is what the file gives; places that give the same field agree."""
        first, *others = (each.declared for each in self.mentions)
        given = {name: getattr(each, name) for each in others for name in each.model_fields_set}
        return first.model_copy(update=given)

    def place(self, *field: str) -> str:
        """Where it stands, or where one of its fields is given."""
        giving = (each for each in self.mentions if {*field} <= each.declared.model_fields_set)
        return next(giving, self.mentions[0]).place(*field)

    def beside(self, found: SecretSummary | None) -> DeclareSecret:
        """With what the file leaves out as it is; as a new one has it where there is none yet."""
        declared = self.declared
        if found is None:
            return declared
        left_out = set(SECRET_FIELDS) - declared.model_fields_set
        return declared.model_copy(update={field: getattr(found, field) for field in left_out})


def secrets_wanted(declarations: Declarations, environment: str) -> tuple[WantedSecret, ...] | None:
    """Those of an application environment, of every document; none if no document speaks of any."""
    around = declarations.find(DeclaredApplicationEnvironment, environment)
    mentions = [*_mentions(declarations, environment)]
    if not mentions and (around is None or around.secrets is None):
        return None
    names = dict.fromkeys(each.declared.name for each in mentions)
    return tuple(
        WantedSecret(tuple(each for each in mentions if each.declared.name == name))
        for name in names
    )


def _mentions(declarations: Declarations, environment: str) -> Iterator[Mention]:
    """Those of the environment's own document first."""
    for placed, appenv in declarations.of(DeclaredApplicationEnvironment):
        if appenv.subject == environment:
            for number, secret in enumerate(appenv.secrets or ()):
                yield Mention(secret, placed, ("secrets", number))
    for placed, document in declarations.of(DeclaredSecret):
        if document.environment_subject == environment:
            yield Mention(document.declare_secret, placed)


def unchangeable(wanted: Sequence[WantedSecret], present: ApplicationEnvironment) -> Iterator[str]:
    """What of the secrets that are there would have to become what it cannot be any more. One that
    is only declared keeps its issuer alone.
    """
    known = {secret.name: secret for secret in present.secrets}
    for secret in wanted:
        found = known.get(secret.name)
        if found is None:
            continue
        if found.state in OVER:
            yield (
                f"{secret.place()}: {secret.name} is {found.state}, which is for good; take it "
                "out, or declare a secret of another name"
            )
            continue
        fixed = ("issuer",) if found.state == DECLARED else SECRET_FIELDS
        for field in fixed:
            was, now = str(getattr(found, field)), str(getattr(secret.declared, field))
            if field in secret.declared.model_fields_set and was != now:
                yield (
                    f"{secret.place(field)}: it is {was} and cannot become {now}; write {was}, or "
                    f"declare a secret of another name ({_WHY_FIXED[field]})"
                )


def missing(
    wanted: Sequence[WantedSecret], present: ApplicationEnvironment
) -> tuple[WantedSecret, ...]:
    """Those that have to be provisioned: they are not there, or only declared."""
    known = {secret.name: secret for secret in present.secrets if secret.state != DECLARED}
    return tuple(secret for secret in wanted if secret.name not in known)


def provisioned_fields(
    wanted: Sequence[WantedSecret], present: ApplicationEnvironment | None
) -> Iterator[FieldChange]:
    """What is shown of secrets that are to be provisioned, as far as it differs."""
    known = {secret.name: secret for secret in present.secrets} if present else {}
    for secret in wanted:
        before = known.get(secret.name)
        was = None if before is None else _text(before)
        now = _text(secret.beside(before))
        if was != now:
            yield FieldChange(f"secret {secret.name}", was, now)


def added_fields(
    new: Sequence[WantedSecret], present: ApplicationEnvironment
) -> Iterator[FieldChange]:
    """What is shown of secrets that an environment in use gets, all of it."""
    known = {secret.name: secret for secret in present.secrets}
    for secret in new:
        text = _text(secret.beside(known.get(secret.name)))
        yield FieldChange(f"secret {secret.name}", None, text)


def new_secret_change(declared: DeclaredSecret) -> Change:
    """A secret that is not there yet; what provisions its environment, or adds it, makes it."""
    fields = [FieldChange("state", None, declared.state or ACTIVE)]
    if declared.rotation is not None:
        fields += _rotation_fields(None, declared.rotation)
    return Change(Action.CREATE, Kind.SECRET, declared.subject, tuple(fields))


def secret_change(present: Present, found: Secret, declared: DeclaredSecret) -> Change:
    """Its rotation and whether it is suspended, as far as they differ."""
    fields: list[FieldChange] = []
    commands: list[Command] = []
    rotation, policy = declared.rotation, found.rotation_policy
    if rotation is not None and (differing := [*_rotation_fields(policy, rotation)]):
        fields += differing
        body = changed_policy(policy, rotation.changes)
        path = ROTATION_POLICY.format(secret_id=found.id)
        commands.append(Command(path, Secret, body, "PUT"))
    move = SUSPENSIONS.get((found.state, declared.state or found.state))
    if move is not None:
        fields.append(FieldChange("state", found.state, str(declared.state)))
        path = SECRET_MOVE.format(secret_id=found.id, move=move)
        commands.append(Command(path, Secret))
    tag = present.tag(SECRET.format(secret_id=found.id))
    bound = tuple(if_unchanged(tag, iter(commands)))
    return Change(Action.CHANGE, Kind.SECRET, declared.subject, tuple(fields), bound)


def waits_with_its_state(found: Secret, declared: DeclaredSecret) -> bool:
    """Whether it is to be suspended, which it cannot be before a request on it has ended."""
    return declared.state == SUSPENDED and found.state in (DECLARED, PROVISIONING, ROTATING)


def _rotation_fields(
    present: RotationPolicy | None, declared: DeclaredRotation
) -> Iterator[FieldChange]:
    changes = declared.changes
    for field, told in DeclaredRotation.POLICY_FIELDS.items():
        if told not in changes:
            continue
        was = None if present is None else _rotation_text(getattr(present, told))
        now = _rotation_text(changes[told])
        if was != now:
            yield FieldChange(f"rotation.{field}", was, now)


def _rotation_text(value: object) -> str:
    """A duration, or a window, as people write it."""
    if isinstance(value, int):
        return duration_text(value)
    return window_or_any_text(value if isinstance(value, RotationWindow) else None)


def _text(secret: DeclareSecret | SecretSummary) -> str:
    return f"{secret.issuer}, {secret.purpose}, {secret.sensitivity}"
