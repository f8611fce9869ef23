"""Who is behind a token, and what is not asked twice."""

from __future__ import annotations

import base64

import pytest

from idp_kernel.errors import Unauthenticated, Unavailable
from idp_kernel.wire.engine import Introspection, TeamRole
from local_stack.forge.authentication import REMEMBER_SECONDS, Authentication
from local_stack.forge.callers import Agent, Bot, Person

ANN = Introspection(active=True, principal="ann", teams={"payments": TeamRole.TEAM_VIEWER})


class PretendControlPlane:
    """Knows one token."""

    def __init__(self) -> None:
        self.known = {"idp_pat_ann": ANN}
        self.asked: list[str] = []
        self.away = False

    def __call__(self, token: str) -> Introspection:
        self.asked.append(token)
        if self.away:
            raise Unavailable("away", code="control_plane_unavailable")
        return self.known.get(token, Introspection(active=False))


class Door:
    """An authentication with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.control_plane = PretendControlPlane()
        self.authentication = Authentication(
            bot_token="the-bot",
            agent_token="the-agent",
            introspect=self.control_plane,
            monotonic=lambda: self.now,
        )


@pytest.fixture
def door() -> Door:
    return Door()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_the_platforms_own_are_known_without_asking(door: Door) -> None:
    door.control_plane.away = True
    assert door.authentication.caller("Bearer the-bot") == Bot()
    assert door.authentication.caller("bearer the-agent") == Agent()
    assert door.authentication.caller(basic("x", "the-bot"), basic=True) == Bot()
    assert door.control_plane.asked == []


def test_people_are_introspected_and_remembered_for_a_moment(door: Door) -> None:
    expected = Person("ann", platform_admin=False, teams=ANN.teams)
    assert door.authentication.caller("Bearer idp_pat_ann") == expected
    door.control_plane.known = {}
    door.now = REMEMBER_SECONDS - 0.1
    assert door.authentication.caller("Bearer idp_pat_ann") == expected
    door.now = REMEMBER_SECONDS
    with pytest.raises(Unauthenticated):
        door.authentication.caller("Bearer idp_pat_ann")
    assert len(door.control_plane.asked) == 2


def test_a_refusal_is_not_remembered(door: Door) -> None:
    with pytest.raises(Unauthenticated):
        door.authentication.caller("Bearer idp_pat_new")
    door.control_plane.known["idp_pat_new"] = ANN
    assert door.authentication.caller("Bearer idp_pat_new").name == "ann"


def test_nobody_gets_in_while_nobody_can_say_who_it_is(door: Door) -> None:
    door.control_plane.away = True
    with pytest.raises(Unavailable):
        door.authentication.caller("Bearer idp_pat_ann")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer  ",
        "Digest x",
        basic("ann", "idp_pat_ann"),
        "Bearer idp pat",
        "Bearer \u00e4",
        "Bearer " + "x" * 513,
    ],
)
def test_what_is_no_bearer_token_is_nobody(door: Door, authorization: str | None) -> None:
    with pytest.raises(Unauthenticated):
        door.authentication.caller(authorization)


@pytest.mark.parametrize("authorization", ["Basic !!!", "Basic /w==", "Basic", basic("ann", "")])
def test_what_is_no_password_is_nobody(door: Door, authorization: str) -> None:
    with pytest.raises(Unauthenticated):
        door.authentication.caller(authorization, basic=True)
    assert door.control_plane.asked == []
