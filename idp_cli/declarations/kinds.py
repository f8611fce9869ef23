"""What a file can declare, by its `kind`; fields that are left out stay as they are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError

from idp_cli.durations import parse_duration
from idp_cli.rotation_policies import limit_told, parse_window_or_any
from idp_kernel.errors import InvalidInput
from idp_kernel.ids import Slug
from idp_kernel.wire.api import (
    SECRETS_PER_ENVIRONMENT,
    AddMember,
    DeclareSecret,
    PrincipalName,
    RotationWindow,
    SetRotationPolicy,
    SetTeamLimits,
    TeamPolicy,
)
from idp_kernel.wire.base import Line, WireModel
from idp_kernel.wire.worker import CredentialIssuerName, SecretPurpose, SecretSensitivity


class Kind(StrEnum):
    """In the order in which they are brought about: each stands on those before it."""

    TEAM = "Team"
    ENVIRONMENT = "Environment"
    APPLICATION = "Application"
    APPLICATION_ENVIRONMENT = "ApplicationEnvironment"
    SECRET = "Secret"


class Declaration(WireModel):
    """One document of the file."""

    of_kind: ClassVar[Kind]

    @property
    @abstractmethod
    def subject(self) -> str:
        """What it is about, as people name it; unique among those of a kind."""


class DeclaredTeam(Declaration):
    """A team. A new one is activated."""

    of_kind = Kind.TEAM

    kind: Literal[Kind.TEAM]
    slug: Slug
    display_name: Annotated[Line, Field(min_length=1, max_length=100)] | None = None
    state: Literal["Active", "Suspended"] | None = None
    """Left out, a suspended team stays suspended."""
    members: tuple[AddMember, ...] = ()
    """Each has the role that stands here; those who do not stand here keep theirs."""
    former_members: tuple[PrincipalName, ...] = ()
    """Who has no role in it any more, or never had one."""
    policy: TeamPolicy | None = None
    """What of it is left out stays as it is."""
    limits: SetTeamLimits | None = None
    """What of them is left out stays as it is; `null` is the platform's default."""

    @property
    def subject(self) -> str:
        return self.slug


class DeclaredEnvironment(Declaration):
    """An environment for all applications. A new one is activated."""

    of_kind = Kind.ENVIRONMENT

    kind: Literal[Kind.ENVIRONMENT]
    slug: Slug
    description: Annotated[Line, Field(max_length=300)] | None = None
    state: Literal["Active", "Frozen"] | None = None
    """Left out, a frozen environment stays frozen."""

    @property
    def subject(self) -> str:
        return self.slug


class DeclaredApplication(Declaration):
    """An application of a team, onboarded. It belongs to that team for ever."""

    of_kind = Kind.APPLICATION

    kind: Literal[Kind.APPLICATION]
    team: Slug
    slug: Slug
    description: Annotated[Line, Field(max_length=300)] | None = None

    @property
    def subject(self) -> str:
        return f"{self.team}/{self.slug}"


class DeclaredApplicationEnvironment(Declaration):
    """An application in an environment, provisioned with its secrets."""

    of_kind = Kind.APPLICATION_ENVIRONMENT

    kind: Literal[Kind.APPLICATION_ENVIRONMENT]
    team: Slug
    application: Slug
    environment: Slug
    state: Literal["Active", "Frozen"] | None = None
    """Left out, a frozen one stays frozen."""
    secrets: Annotated[
        tuple[DeclareSecret, ...] | None, Field(max_length=SECRETS_PER_ENVIRONMENT)
    ] = None
    """With those that documents of their own declare for it. Where nothing names one, a new
    environment gets `app-key`.
    """

    @property
    def application_subject(self) -> str:
        return f"{self.team}/{self.application}"

    @property
    def subject(self) -> str:
        return f"{self.team}/{self.application}/{self.environment}"


def _read(field: str, parse: Callable[[str], object]) -> BeforeValidator:
    """Reads what people write, as that field of a rotation policy takes it."""

    def read(written: object) -> object:
        if not isinstance(written, str):
            raise ValueError(f"it takes text, such as {_EXAMPLES[field]}")  # noqa: TRY004 - pydantic's
        try:
            parsed = parse(written)
            SetRotationPolicy.model_validate({field: parsed})
        except ValidationError as error:
            raise ValueError(limit_told(error)) from error
        except InvalidInput as error:
            raise ValueError(error.message.removesuffix(".")) from error
        return parsed

    return BeforeValidator(read)


_EXAMPLES = {"interval_seconds": "30d", "grace_seconds": "1h or 0s", "window": "mon-fri 22-06"}


class DeclaredRotation(WireModel):
    """When a secret is rotated; what is left out stays as it is."""

    POLICY_FIELDS: ClassVar[dict[str, str]] = {
        "interval": "interval_seconds",
        "grace": "grace_seconds",
        "window": "window",
    }
    """By the names that they have here."""

    interval: Annotated[int | None, _read("interval_seconds", parse_duration)] = None
    """In seconds; written as a duration, as is the grace."""
    grace: Annotated[int | None, _read("grace_seconds", parse_duration)] = None
    window: Annotated[RotationWindow | None, _read("window", parse_window_or_any)] = None
    """`any` is none."""

    @property
    def changes(self) -> dict[str, object]:
        """What was given, by the names that the policy has for it."""
        return {self.POLICY_FIELDS[field]: getattr(self, field) for field in self.model_fields_set}


class DeclaredSecret(Declaration):
    """A secret of an application environment, with its rotation."""

    of_kind = Kind.SECRET

    kind: Literal[Kind.SECRET]
    team: Slug
    application: Slug
    environment: Slug
    name: Slug
    issuer: CredentialIssuerName | None = None
    purpose: SecretPurpose | None = None
    sensitivity: SecretSensitivity | None = None
    state: Literal["Active", "Suspended"] | None = None
    """Left out, a suspended one stays suspended."""
    rotation: DeclaredRotation | None = None

    @property
    def environment_subject(self) -> str:
        return f"{self.team}/{self.application}/{self.environment}"

    @property
    def subject(self) -> str:
        return f"{self.environment_subject}/{self.name}"

    @property
    def declare_secret(self) -> DeclareSecret:
        """As an environment declares it; set is what was given."""
        given = {field: getattr(self, field) for field in SECRET_FIELDS}
        named = {field: value for field, value in given.items() if value is not None}
        return DeclareSecret.model_validate({"name": self.name, **named})


SECRET_FIELDS = ("issuer", "purpose", "sensitivity")
"""What a secret is, besides its name."""
KINDS: dict[Kind, type[Declaration]] = {
    each.of_kind: each
    for each in (
        DeclaredTeam,
        DeclaredEnvironment,
        DeclaredApplication,
        DeclaredApplicationEnvironment,
        DeclaredSecret,
    )
}
