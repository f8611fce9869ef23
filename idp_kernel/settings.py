"""What a process is told from outside: how its variables are read, and refused before it starts.

A setting is a field of a frozen class: its type says what is accepted, the text below it what it
means. `idp_kernel.settings_reference` makes the pages in `docs/settings/` from the same classes.
Secrets come as the paths of files, and no message here shows a value: any of them could be a
secret that somebody put into the wrong variable.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, StrEnum
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLError
from types import UnionType
from typing import Annotated, Any, Final, NoReturn, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from idp_kernel.errors import InvariantBroken
from idp_kernel.telemetry.traces import OtlpEndpoint, TraceRatio

REFUSED_EXIT_STATUS: Final = 2
"""How a process ends that was told something wrong."""


class SettingsPrefix(StrEnum):
    """How the variables of each service begin."""

    CONTROL_PLANE = "IDP_CONTROL_PLANE_"
    ENGINE = "IDP_ENGINE_"
    EXECUTION_WORKERS = "IDP_EXECUTION_WORKERS_"
    LOCAL_CONSUMER = "IDP_LOCAL_CONSUMER_"
    LOCAL_FORGE = "IDP_LOCAL_FORGE_"
    LOCAL_GITOPS_AGENT = "IDP_LOCAL_GITOPS_AGENT_"
    OPENBAO = "IDP_OPENBAO_"
    POSTGRES = "IDP_POSTGRES_"


@dataclass(frozen=True)
class Form:
    """What is accepted, in words that follow "it must be"."""

    words: str
    is_file: bool = False
    """Whether a file that can be read must be there."""
    is_secret: bool = False
    """Whether that file holds a secret: mode 0600."""
    is_authorities: bool = False
    """Whether that file has to hold certificates, as PEM."""


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("not absolute")
    return path


def json_object(text: object) -> object:
    """A variable that holds a JSON object, decoded; raises `ValueError` for other text."""
    if not isinstance(text, str):
        return text
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - pydantic's word for what is refused
    return found


Host = Annotated[str, Form("an address or name of this machine")]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=600)]
HTTP_URL = Form("an http:// or https:// address without user, query or fragment")
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"), HTTP_URL]
Label = Annotated[
    str, Field(pattern=r"^[\w.-]{1,60}$"), Form("1 to 60 letters, digits, _, . and -")
]
DatabaseUrl = Annotated[
    str,
    Field(pattern=r"^postgresql(\+psycopg)?://[^\s/]+/[^\s/?]+"),
    Form("a postgresql:// URL with a database; the password is in the file `passfile=` names"),
]
LogLevel = Annotated[
    str,
    Field(pattern=r"^(DEBUG|INFO|WARNING|ERROR)$"),
    Form("DEBUG, INFO, WARNING or ERROR"),
]
OnOff = Annotated[bool, Form("true or false")]
AbsoluteFolder = Annotated[
    Path, AfterValidator(_absolute), Form("the absolute path of a folder; it is made if missing")
]
Folder = Annotated[Path, Form("the path of a folder; it is made if missing")]
ReadableFile = Annotated[Path, Form("the path of a file that can be read", is_file=True)]
AuthoritiesFile = Annotated[
    Path, Form("the path of a file with certificates, as PEM", is_file=True, is_authorities=True)
]
SecretFilePath = Annotated[
    Path, Form("the path of a file that can be read", is_file=True, is_secret=True)
]
KeptSecretFilePath = Annotated[
    Path, Form("the path of a file; it is made, with mode 0600, if missing", is_secret=True)
]


@dataclass(frozen=True)
class Needs:
    """The settings that a choice needs; they have no default, since other choices do without."""

    chosen: str
    """What was chosen, in words."""
    names: tuple[str, ...]
    """The fields."""


class ServiceSettings(BaseSettings):
    """Base of every settings class; a subclass sets `env_prefix`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    def needs(self) -> Iterable[Needs]:
        """What the choices that these settings make need."""
        return ()


class LogSettings(ServiceSettings):
    """What every program is told about its log."""

    log_level: LogLevel = "INFO"
    """Below this nothing is logged."""


class TelemetrySettings(LogSettings):
    """What a program that stays is told about what it tells."""

    env: Label = "local"
    """Which installation this is, in metrics and traces."""
    otlp_endpoint: Annotated[OtlpEndpoint, HTTP_URL] | None = None
    """The collector that takes traces as OTLP over HTTP; none are sent when it is not set."""


class TraceOriginSettings(TelemetrySettings):
    """What a program is told beside that in which traces begin."""

    trace_ratio: TraceRatio = 1
    """The share of traces beginning here that is sent; one that came with a call goes on as it
    began."""


Given = TypeVar("Given")
SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def read_settings(settings: type[SettingsT]) -> SettingsT:
    """The settings as the environment has them.

    Anything wrong or missing ends the process with status 2, after one line on stderr for each
    such variable. A variable with the prefix that is no setting is told and left alone.
    """
    for complaint in unknown_variables(settings):
        _say(complaint)
    try:
        found = settings()
    except ValidationError as error:
        refuse(list(wrong_variables(settings, error)))
    missing = [*unreadable_files(found), *unmet_needs(found)]
    if missing:
        refuse(missing)
    return found


def unmet_needs(settings: ServiceSettings) -> Iterator[str]:
    """One line for each setting that a choice needs and that is not set."""
    for needs in settings.needs():
        for name in needs.names:
            if getattr(settings, name) is None:
                yield _unmet(settings, name, needs)


def required(value: Given | None, settings: ServiceSettings, name: str, needs: Needs) -> Given:
    """The value of the field of that name, one of those that the choice needs.

    Without one the process ends like one that was told something wrong: so ends who asks for what
    the settings have not chosen.
    """
    if name not in needs.names:
        raise InvariantBroken(f"{needs.chosen} does not say that it needs {name}")
    if value is None:
        refuse([_unmet(settings, name, needs)])
    return value


def _unmet(settings: ServiceSettings, name: str, needs: Needs) -> str:
    variable, form = variable_of(type(settings), name), form_of(type(settings).model_fields[name])
    return f"{variable}: {needs.chosen} needs it and it is not set; it must be {form.words}"


def refuse(complaints: list[str]) -> NoReturn:
    """Ends the process because of what it was told, one line each."""
    for complaint in complaints:
        _say(complaint)
    sys.exit(REFUSED_EXIT_STATUS)


def variable_of(settings: type[ServiceSettings], name: str) -> str:
    """The variable that sets the field of that name."""
    alias = settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"{_prefix(settings)}{name}".upper()


def form_of(field: FieldInfo) -> Form:
    """What the field accepts."""
    annotation, metadata = _bare(field.annotation, field.metadata)
    for each in metadata:
        if isinstance(each, Form):
            return each
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return Form(_one_of([str(choice.value) for choice in annotation]))
    if annotation in (int, float):
        return Form(_number(annotation, metadata))
    return Form("some text" if annotation is str else "a path")


def unknown_variables(settings: type[ServiceSettings]) -> Iterator[str]:
    """What is set with the prefix and is a setting of no program that shares it."""
    known = {
        variable_of(each, name)
        for each in _sharing_prefix(_prefix(settings))
        for name in each.model_fields
    }
    for variable in sorted(os.environ):
        if variable.upper().startswith(_prefix(settings)) and variable.upper() not in known:
            near = get_close_matches(variable.upper(), sorted(known), n=1, cutoff=0)
            hint = f"; the nearest is {near[0]}" if near else ""
            yield f"{variable}: there is no such setting, it is not used{hint}"


def wrong_variables(settings: type[ServiceSettings], error: ValidationError) -> Iterator[str]:
    """One line for each variable that is missing or not accepted."""
    names = {settings.model_fields[name].validation_alias: name for name in settings.model_fields}
    for detail in error.errors(include_input=False, include_url=False):
        place = str(detail["loc"][0])
        name = names.get(place, place)
        form = form_of(settings.model_fields[name])
        missing = "it is not set and has no default; " if detail["type"] == "missing" else ""
        yield f"{variable_of(settings, name)}: {missing}it must be {form.words}"


def unreadable_files(
    settings: ServiceSettings, *, working_folder: Path = Path(), made_later: Path | None = None
) -> Iterator[str]:
    """One line for each file that must be there and cannot be read.

    Relative paths begin in the working folder. What is in the folder `made_later` is left out.
    """
    for name, field in type(settings).model_fields.items():
        form = form_of(field)
        if (path := getattr(settings, name, None)) is None or not form.is_file:
            continue
        place = Path(os.path.abspath(working_folder / path))  # noqa: PTH100 - links are left alone
        comes_later = made_later is not None and place.is_relative_to(made_later)
        if not comes_later and (why := _unreadable(place, form)):
            yield f"{variable_of(type(settings), name)}: {why}; it must be {form.words}"


def _unreadable(path: Path, form: Form) -> str | None:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                return "the file that it names is empty"
        if form.is_authorities:
            SSLContext(PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except SSLError:
        return "the file that it names has no certificates"
    except OSError as error:
        return f"the file that it names cannot be read ({error.strerror})"
    return None


def _say(complaint: str) -> None:
    sys.stderr.write(f"{complaint}\n")
    sys.stderr.flush()


def _prefix(settings: type[ServiceSettings]) -> str:
    return settings.model_config.get("env_prefix", "")


def _sharing_prefix(prefix: str) -> Iterator[type[ServiceSettings]]:
    waiting: list[type[ServiceSettings]] = [ServiceSettings]
    while waiting:
        settings = waiting.pop()
        waiting += settings.__subclasses__()
        if _prefix(settings) == prefix:
            yield settings


def _bare(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """The type without `| None` and `Annotated`, and all that is said about it."""
    if get_origin(annotation) in (Union, UnionType):
        (inner,) = [each for each in get_args(annotation) if each is not type(None)]
        return _bare(inner, metadata)
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _bare(inner, [*metadata, *_unfolded(more)])
    return annotation, metadata


def _unfolded(metadata: list[Any]) -> list[Any]:
    return [
        part
        for each in metadata
        for part in (each.metadata if isinstance(each, FieldInfo) else [each])
    ]


def _number(kind: type, metadata: list[Any]) -> str:
    what = "a whole number" if kind is int else "a number"
    low = next((f"from {each.ge}" for each in metadata if isinstance(each, Ge)), None)
    above = next((f"above {each.gt}" for each in metadata if isinstance(each, Gt)), None)
    high = next((each.le for each in metadata if isinstance(each, Le)), None)
    begin = low or above
    if high is None:
        return " ".join(part for part in (what, f"{begin} on" if low else begin) if part)
    return f"{what} {begin} to {high}" if low else f"{what} {begin}, at most {high}"


def _one_of(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
