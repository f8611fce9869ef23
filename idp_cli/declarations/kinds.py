"""What a file can declare, by its `kind`; fields that are left out stay as they are."""

from __future__ import annotations

from abc import abstractmethod
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from idp_kernel.ids import Slug
from idp_kernel.wire.api import SECRETS_PER_ENVIRONMENT, AddMember, DeclareSecret
from idp_kernel.wire.base import Line, WireModel


class Kind(StrEnum):
    """In the order in which they are brought about: each stands on those before it."""

    TEAM = "Team"
    ENVIRONMENT = "Environment"
    APPLICATION = "Application"
    APPLICATION_ENVIRONMENT = "ApplicationEnvironment"


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
    """Left out, a new one gets `app-key`."""

    @property
    def application_subject(self) -> str:
        return f"{self.team}/{self.application}"

    @property
    def subject(self) -> str:
        return f"{self.team}/{self.application}/{self.environment}"


KINDS: dict[Kind, type[Declaration]] = {
    each.of_kind: each
    for each in (
        DeclaredTeam,
        DeclaredEnvironment,
        DeclaredApplication,
        DeclaredApplicationEnvironment,
    )
}
