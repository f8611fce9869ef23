"""Who may do what, for every kind of caller."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from idp_kernel.errors import NotAllowed, NotFound
from idp_kernel.wire.engine import TeamRole
from local_stack.forge.callers import (
    Agent,
    Bot,
    Caller,
    Person,
    require_bot,
    require_merge,
    require_push,
    require_sight,
)

MAINTAINER = Person("ann", teams={"payments": TeamRole.TEAM_MAINTAINER})
VIEWER = Person("vic", teams={"payments": TeamRole.TEAM_VIEWER})
STRANGER = Person("sue", teams={"search": TeamRole.TEAM_MAINTAINER})
ADMIN = Person("root", platform_admin=True)
NOBODY = Person("nobody")

Check = Callable[[Caller], object]
CHECKS: dict[str, Check] = {
    "read": lambda caller: require_sight(caller, "payments", "shop"),
    "push": lambda caller: require_push(caller, "payments", "shop"),
    "merge": lambda caller: require_merge(caller, "payments", "shop"),
    "manage": lambda caller: require_bot(caller, "create repositories"),
}
MATRIX: list[tuple[Caller, str]] = [
    (Bot(), "read push manage"),
    (Agent(), "read"),
    (MAINTAINER, "read push merge"),
    (VIEWER, "read"),
    (ADMIN, "read push"),
    (STRANGER, ""),
    (NOBODY, ""),
]


@pytest.mark.parametrize(("caller", "allowed"), MATRIX)
def test_each_caller_may_do_exactly_this(caller: Caller, allowed: str) -> None:
    assert {name for name, check in CHECKS.items() if passes(check, caller)} == set(allowed.split())


@pytest.mark.parametrize("caller", [STRANGER, NOBODY])
@pytest.mark.parametrize("action", ["read", "push", "merge"])
def test_what_one_may_not_see_is_not_there(caller: Caller, action: str) -> None:
    with pytest.raises(NotFound):
        CHECKS[action](caller)


def passes(check: Check, caller: Caller) -> bool:
    try:
        check(caller)
    except (NotAllowed, NotFound):
        return False
    return True
