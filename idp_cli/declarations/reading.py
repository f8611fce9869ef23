"""A file of declarations, checked whole: all that is wrong with it is said at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from idp_cli.declarations.documents import (
    Document,
    Location,
    Problem,
    field_text,
    read_documents,
)
from idp_cli.declarations.kinds import (
    KINDS,
    SECRET_FIELDS,
    Declaration,
    DeclaredApplicationEnvironment,
    DeclaredSecret,
    DeclaredTeam,
    Kind,
)
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.api import SECRETS_PER_ENVIRONMENT

Declared = TypeVar("Declared", bound=Declaration)


@dataclass(frozen=True)
class Placed:
    """A declaration and where it stands."""

    document: Document
    declaration: Declaration

    @property
    def told(self) -> str:
        """`document 2 (Team payments)`."""
        kind, subject = self.declaration.of_kind, self.declaration.subject
        return f"document {self.document.number} ({kind} {subject})"

    def place(self, *location: str | int) -> str:
        """Where a field stands, as a complaint begins."""
        where = f"{self.told}, line {self.document.line_at(location)}"
        return f"{where}, {field_text(location)}" if location else where


class Declarations:
    """Every declaration of a file, each of another subject."""

    def __init__(self, placed: Sequence[Placed]) -> None:
        self.placed = tuple(placed)

    def of(self, kind: type[Declared]) -> Iterator[tuple[Placed, Declared]]:
        """Those of a kind, in the order of the file."""
        for each in self.placed:
            if isinstance(each.declaration, kind):
                yield each, each.declaration

    def find(self, kind: type[Declared], subject: str) -> Declared | None:
        """The one about that subject."""
        for _placed, declaration in self.of(kind):
            if declaration.subject == subject:
                return declaration
        return None


def read_declarations(text: str, source: str) -> Declarations:
    """Everything the file declares.

    Raises `InvalidInput` (`declaration_invalid`) that names document, line and field of everything
    that is wrong.
    """
    documents, problems = read_documents(text)
    told = [_told("", problem) for problem in problems]
    placed: list[Placed] = []
    for document in documents:
        found = _declaration(document)
        if isinstance(found, Placed):
            placed.append(found)
        else:
            told += [_told(f"document {document.number}, ", problem) for problem in found]
    told += list(_told_twice(placed))
    if not told and not placed:
        told = ["it declares nothing"]
    if told:
        raise invalid_declarations(source, told)
    return Declarations(placed)


def invalid_declarations(
    source: str, problems: Iterable[str], *, is_untouched: bool = True
) -> InvalidInput:
    """The error of a file, a problem a line; `is_untouched` while nothing was changed yet."""
    listed = list(problems)
    lines = "\n".join(f"  {problem}" for problem in listed)
    rest = ", and nothing was changed" if is_untouched else ""
    return InvalidInput(
        f"{source} cannot be applied as it is written{rest}:\n{lines}",
        code="declaration_invalid",
        details={"problems": listed},
    )


def _declaration(document: Document) -> Placed | list[Problem]:
    if not isinstance(document.data, dict):
        return [Problem(document.line, "", "it is no mapping of fields to values")]
    kind = document.data.get("kind")
    if kind not in list(Kind):
        return [Problem(document.line_at(("kind",)), "kind", _unknown_kind(kind))]
    model = KINDS[Kind(str(kind))]
    try:
        return Placed(document, model.model_validate(document.data))
    except ValidationError as error:
        return [_problem(document, model, each) for each in error.errors()]


def _unknown_kind(kind: object) -> str:
    known = ", ".join(Kind)
    if kind is None:
        return f"it says not what it declares; kinds are {known}"
    close = get_close_matches(str(kind), list(Kind), n=1, cutoff=0.5)
    meant = f", did you mean {close[0]}" if close else ""
    return f"there is no kind {kind!r}{meant}; kinds are {known}"


def _problem(document: Document, model: type[Declaration], error: ErrorDetails) -> Problem:
    location: Location = tuple(error["loc"])
    line, field = document.line_at(location), field_text(location)
    if error["type"] == "extra_forbidden":
        return Problem(line, field, _unknown_field(model, location))
    if error["type"] == "missing":
        return Problem(line, field, "it is missing")
    if error["type"] == "string_pattern_mismatch" and location[-1] in _SLUGS:
        slug = "lower case, digits and single hyphens, a letter first, such as app-key"
        return Problem(line, field, f"{error['input']!r} is no slug: {slug}")
    if error["type"] == "value_error":
        return Problem(line, field, str(error["ctx"]["error"]))
    return Problem(line, field, f"{_lower_first(error['msg'])}, which {error['input']!r} is not")


_SLUGS = frozenset({"slug", "team", "application", "environment", "name"})


def _unknown_field(model: type[Declaration], location: Location) -> str:
    if len(location) > 1:
        return "there is no such field"
    known = [field.alias or name for name, field in model.model_fields.items()]
    close = get_close_matches(str(location[0]), known, n=1)
    meant = f", did you mean {close[0]}" if close else ""
    return f"a {model.of_kind} has no such field{meant}; it has {', '.join(known)}"


def _told_twice(placed: Sequence[Placed]) -> Iterator[str]:
    first: dict[tuple[Kind, str], Placed] = {}
    for each in placed:
        key = (each.declaration.of_kind, each.declaration.subject)
        if key in first:
            number = first[key].document.number
            yield f"{each.place()}: document {number} declares it already"
        first.setdefault(key, each)
        if isinstance(each.declaration, DeclaredApplicationEnvironment):
            yield from _secrets_twice(each, each.declaration)
        if isinstance(each.declaration, DeclaredTeam):
            yield from _members_twice(each, each.declaration)
    yield from _secrets_otherwise(placed)


def _secrets_twice(placed: Placed, declared: DeclaredApplicationEnvironment) -> Iterator[str]:
    secrets = declared.secrets or ()
    names = Counter(secret.name for secret in secrets)
    seen: set[str] = set()
    for number, secret in enumerate(secrets):
        if names[secret.name] > 1 and secret.name in seen:
            yield f"{placed.place('secrets', number, 'name')}: {secret.name} is declared twice"
        seen.add(secret.name)


def _members_twice(placed: Placed, declared: DeclaredTeam) -> Iterator[str]:
    members = {member.principal for member in declared.members}
    for number, principal in enumerate(declared.former_members):
        if principal in members:
            yield (
                f"{placed.place('formerMembers', number)}: {principal} is among the members, too"
            )


def _secrets_otherwise(placed: Sequence[Placed]) -> Iterator[str]:
    """A secret may stand with its environment and in a document of its own, which then agree; an
    environment has no more of them than it can have.
    """
    listed: dict[str, tuple[Placed, DeclaredApplicationEnvironment]] = {
        each.declaration.subject: (each, each.declaration)
        for each in placed
        if isinstance(each.declaration, DeclaredApplicationEnvironment)
    }
    names: defaultdict[str, set[str]] = defaultdict(set)
    for subject, (_, appenv) in listed.items():
        names[subject].update(secret.name for secret in appenv.secrets or ())
    for each in placed:
        if not isinstance(each.declaration, DeclaredSecret):
            continue
        secret, environment = each.declaration, each.declaration.environment_subject
        if environment in listed:
            yield from _differences(each, secret, *listed[environment])
        names[environment].add(secret.name)
        if len(names[environment]) == SECRETS_PER_ENVIRONMENT + 1:
            yield f"{each.place()}: {environment} has more than {SECRETS_PER_ENVIRONMENT} secrets"


def _differences(
    placed: Placed, secret: DeclaredSecret, around: Placed, appenv: DeclaredApplicationEnvironment
) -> Iterator[str]:
    listed = next((each for each in appenv.secrets or () if each.name == secret.name), None)
    for field in SECRET_FIELDS:
        wanted = getattr(secret, field)
        if listed is None or wanted is None or field not in listed.model_fields_set:
            continue
        if (other := getattr(listed, field)) != wanted:
            told = f"it is {wanted} here and {other} in document {around.document.number}"
            yield f"{placed.place(field)}: {told}"


def _told(where: str, problem: Problem) -> str:
    field = f", {problem.field}" if problem.field else ""
    return f"{where}line {problem.line}{field}: {problem.told}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
