"""What fields of messages take from people."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from pydantic import ValidationError

from idp_kernel.wire.base import Whole, WireModel


class Asked(WireModel):
    """A message with a whole number from 1 to a million."""

    seconds: Annotated[int, Whole(ge=1, le=1_000_000)]


@pytest.mark.parametrize("written", ["60", "60.0", "6e1"])
def test_a_whole_number_may_be_written_as_json_schema_allows(written: str) -> None:
    asked = Asked.model_validate_json(f'{{"seconds": {written}}}')
    assert json.loads(asked.model_dump_json()) == {"seconds": 60}
    assert isinstance(asked.seconds, int)


@pytest.mark.parametrize("written", ["60.5", '"60"', "true", "null", "1e7", "0.0", "1e400", "[60]"])
def test_nothing_else_is_a_whole_number(written: str) -> None:
    with pytest.raises(ValidationError, match="seconds"):
        Asked.model_validate_json(f'{{"seconds": {written}}}')


def test_its_schema_is_that_of_an_integer() -> None:
    assert Asked.model_json_schema()["properties"]["seconds"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 1_000_000,
        "title": "Seconds",
    }
