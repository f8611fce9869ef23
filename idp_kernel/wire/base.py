"""The base of every message: camelCase on the wire, unknown fields refused, immutable."""

from __future__ import annotations

from typing import Annotated
from unicodedata import category

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


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


Line = Annotated[str, AfterValidator(_no_control_characters)]
"""Text on one line: what people write into names, reasons and descriptions."""

Timestamp = AwareDatetime
"""RFC 3339 with an offset; written in UTC."""

__all__ = ["Line", "Timestamp", "WireModel"]
