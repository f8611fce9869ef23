"""The base of every message: camelCase on the wire, unknown fields refused, immutable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from unicodedata import category

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema


class WireModel(BaseModel):
    """A message between services or with a client."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
    )


def _no_control_characters(text: str) -> str:
    """PostgreSQL refuses NUL, and terminals and logs should see no control character."""
    if any(category(character) == "Cc" for character in text):
        raise ValueError("control characters are not allowed")
    if any(category(character) == "Cs" for character in text):
        raise ValueError("half a character (a lone surrogate) is not allowed")
    return text


Line = Annotated[
    str,
    AfterValidator(_no_control_characters),
    Field(json_schema_extra={"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}),
]
"""Text on one line: what people write into names, reasons and descriptions."""

Timestamp = AwareDatetime
"""RFC 3339 with an offset; written in UTC."""

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _written_out(given: object) -> object:
    """Pydantic would take numbers and short forms too."""
    if isinstance(given, datetime) or (isinstance(given, str) and _RFC_3339.fullmatch(given)):
        return given
    raise ValueError("a moment is written as 2026-03-02T09:30:00Z or with an offset (RFC 3339)")


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
"""A timestamp as people give it: in full."""

Flag = Annotated[bool, Field(strict=True)]
"""True or false as people give it, no word or number for it."""


@dataclass(frozen=True)
class Whole:
    """`Annotated[int, Whole(ge=1, le=24)]`: a whole number as people give it, no word for it. The
    bounds belong to the number, so that the schema tells them.
    """

    ge: int
    le: int

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        number = core_schema.int_schema(strict=True, ge=self.ge, le=self.le)
        return core_schema.no_info_before_validator_function(_whole, number)


def _whole(given: object) -> object:
    """JSON Schema's integers, and some clients' too, may be written `60.0`."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


__all__ = ["Flag", "Line", "Moment", "Timestamp", "Whole", "WireModel"]
