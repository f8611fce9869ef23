"""Each call of a port reaches the team's own party, and no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, cast

import pytest

from execution_workers.ports import GitForge, GitOpsAgent, Permission
from execution_workers.providers import registry
from execution_workers.providers.of_teams import AgentOfTeams, ForgeOfTeams
from execution_workers.providers.registry import Surroundings

Router = type[ForgeOfTeams] | type[AgentOfTeams]


def owned(team: str) -> Any:
    return SimpleNamespace(owner=team)


CALLS: Mapping[Router, Mapping[str, Callable[[str], tuple[tuple[Any, ...], dict[str, Any]]]]] = {
    ForgeOfTeams: {
        "repository": lambda team: (("subject", owned(team)), {"may_create": False}),
        "seed": lambda team: (("body", owned(team)), {}),
        "protection": lambda team: (("subject", owned(team), 2), {}),
        "secret_bindings": lambda team: (("subject", owned(team), ()), {}),
        "moved_binding": lambda team: ((SimpleNamespace(repository=owned(team)),), {}),
        "archived": lambda team: (("subject", owned(team)), {}),
        "removed_binding": lambda team: ((owned(team), "binding", {}), {}),
        "standing": lambda team: ((owned(team),), {}),
        "pins": lambda team: ((owned(team), ()), {}),
        "concerns_one": lambda team: ((owned(team), "error"), {}),
        "is_followed_by": lambda team: ((owned(team), "a", "b"), {}),
    },
    AgentOfTeams: {"reconciliation": lambda team: ((team, "appenv-x"), {})},
}
"""What each call of a port is made with for a team; the rest of it stands for anything."""
PORTS: Mapping[Router, type] = {
    ForgeOfTeams: GitForge,
    AgentOfTeams: GitOpsAgent,
}


@dataclass
class Party:
    """Answers every call with its own name, and keeps what it was called with."""

    name: str
    heard: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def permissions(self) -> list[Permission]:
        return [Permission(f"read {self.name}", True, "Ask.")]

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: Any, **named: Any) -> str:
            self.heard.append((method, arguments, named))
            return self.name

        return call


@pytest.mark.parametrize("router", CALLS)
def test_every_call_of_the_port_is_tried_here(router: Router) -> None:
    methods = {name for name in vars(PORTS[router]) if not name.startswith("_")}
    assert methods == {*CALLS[router], "permissions"}


@pytest.mark.parametrize(
    ("router", "method"), [(router, method) for router, of in CALLS.items() for method in of]
)
@pytest.mark.parametrize(("team", "expected"), [("payments", "second"), ("search", "first")])
def test_a_call_reaches_the_teams_own_party(
    router: Router, method: str, team: str, expected: str
) -> None:
    parties = {"first": Party("first"), "second": Party("second")}
    chosen = cast("Any", router)(parties["first"], {"payments": parties["second"]})
    arguments, named = CALLS[router][method](team)
    answer = getattr(chosen, method)(*arguments, **named)
    assert answer in (expected, None)
    other = parties["first" if expected == "second" else "second"]
    assert (parties[expected].heard, other.heard) == ([(method, arguments, named)], [])


def test_the_permissions_are_those_of_each_party_once() -> None:
    first, second = Party("first"), Party("second")
    router = cast("Any", AgentOfTeams)(first, {"payments": second, "orders": second})
    assert [each.name for each in router.permissions()] == ["read first", "read second"]


class Choices(StrEnum):
    """What an installation can choose from."""

    FIRST = "first"
    SECOND = "second"
    THIRD = "third"


@pytest.mark.parametrize(
    ("makers", "choose", "setting"),
    [
        ("GIT_FORGES", registry.git_forge, "git_forge"),
        ("GITOPS_AGENTS", registry.gitops_agent, "gitops_agent"),
    ],
)
def test_what_no_team_has_is_not_made(
    monkeypatch: pytest.MonkeyPatch,
    makers: str,
    choose: Callable[[Surroundings], Any],
    setting: str,
) -> None:
    made: list[str] = []

    def maker(choice: Choices) -> Callable[[Surroundings], Party]:
        def make(_surroundings: Surroundings) -> Party:
            made.append(choice)
            return Party(choice)

        return make

    monkeypatch.setattr(registry, makers, {choice: maker(choice) for choice in Choices})

    def chosen(**of_teams: Choices) -> Any:
        made.clear()
        settings: Any = SimpleNamespace(**{setting: Choices.FIRST, f"{setting}_of_teams": of_teams})
        nobody = cast("Any", None)
        return choose(Surroundings(settings, nobody, nobody, nobody, ExitStack()))

    assert isinstance(chosen(), Party)
    assert made == ["first"]
    router = chosen(payments=Choices.SECOND, orders=Choices.SECOND, search=Choices.FIRST)
    assert made == ["first", "second"]
    assert [each.name for each in router.permissions()] == ["read first", "read second"]
