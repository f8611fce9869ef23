from __future__ import annotations

import pytest

from idp_cli.advice import advice_for
from idp_kernel import errors
from idp_kernel.errors import Conflict, MoveRefused, PlatformError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, PlatformError) and kind is not PlatformError
]


@pytest.mark.parametrize("kind", [each for each in KINDS if each is not MoveRefused])
def test_every_kind_of_error_has_advice(kind: type[PlatformError]) -> None:
    assert advice_for(kind("It did not work."))


def test_the_request_that_stands_in_the_way_is_named() -> None:
    error = Conflict("busy", code="workflow_active", details={"activeRequestId": "0193-x"})
    assert "idp request watch 0193-x" in advice_for(error)


def test_a_refused_move_says_what_is_possible() -> None:
    error = MoveRefused("no", current="Draft", wanted="Suspended", allowed=["Active", "Archived"])
    assert "Draft" in advice_for(error)
    assert "Active, Archived" in advice_for(error)
    last = MoveRefused("no", current="Archived", wanted="Active", allowed=[])
    assert "nothing leads on" in advice_for(last)
