"""The loop round by round, on a pretend agent, store and database."""

from __future__ import annotations

import pytest

from idp_kernel.clock import SystemClock
from idp_kernel.errors import NotFound, PlatformError, Unavailable
from idp_kernel.wire.agent import AppliedSecret, Reconciliation, Reconciliations
from idp_kernel.wire.consumer import ConsumedSecret
from local_stack.consumer.bindings import BindingKey
from local_stack.consumer.loop import TRY_AGAIN_SECONDS, ConsumptionLoop
from local_stack.consumer.store import DatabaseLogin
from local_stack.consumer.usage import LoginUsage, Pace
from tests.unit.local_stack.consumer.pretend import PretendDatabase, login_of

AWAY = Unavailable("gone", code="unreachable")
MOST_BINDINGS = 3


class World:
    """What agent and store say, and a usage that logs in only when it is told to."""

    def __init__(self) -> None:
        self.applied: dict[str, int] = {}
        """Version by binding."""
        self.agent_away = False
        self.broken_rounds = 0
        """How many rounds meet a bug first."""
        self.store_errors: dict[str, PlatformError] = {}
        """By binding."""
        self.asked: list[tuple[str, int]] = []
        self.seconds = 0.0
        self.patience: list[bool] = []
        self.database = PretendDatabase()
        self.usages: dict[str, StillUsage] = {}

    def list(self, *, patiently: bool) -> Reconciliations:
        self.patience.append(patiently)
        if self.agent_away:
            raise AWAY
        if self.broken_rounds:
            self.broken_rounds -= 1
            raise RuntimeError("a bug")
        secrets = tuple(
            AppliedSecret(
                name=name,
                remote_key=f"teams/payments/{name}",
                version=version,
                properties=("username", "password"),
            )
            for name, version in self.applied.items()
        )
        seen = Reconciliation(
            owner="payments",
            name="appenv-1",
            observed_revision=None,
            conditions=(),
            applied_secrets=secrets,
        )
        return Reconciliations(items=(seen,))

    def database_login(self, path: str, version: int) -> DatabaseLogin:
        name = path.rpartition("/")[2]
        self.asked.append((name, version))
        if name in self.store_errors:
            raise self.store_errors[name]
        user = f"{name}-{version}"
        self.database.known.add(user)
        return login_of(user)

    def new_usage(self, binding: BindingKey) -> StillUsage:
        self.usages[binding.name] = StillUsage(binding, self.database)
        return self.usages[binding.name]


class StillUsage(LoginUsage):
    """Without a thread."""

    def __init__(self, binding: BindingKey, database: PretendDatabase) -> None:
        super().__init__(
            binding,
            log_in=database.log_in,
            count_login=database.count,
            clock=SystemClock(),
            pace=Pace(1),
        )
        self.is_running = False
        self.is_busy = False

    def is_alive(self) -> bool:
        return self.is_running or self.is_busy

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def join(self) -> None:
        """There is no thread."""


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def loop(world: World) -> ConsumptionLoop:
    return ConsumptionLoop(
        list_reconciliations=world.list,
        logins=world,
        new_usage=world.new_usage,
        interval_seconds=0.01,
        most_bindings=MOST_BINDINGS,
        monotonic=lambda: world.seconds,
    )


def look(loop: ConsumptionLoop, world: World) -> dict[str, ConsumedSecret]:
    """One round, a login of each usage, and how it goes by binding."""
    loop.look()
    for usage in world.usages.values():
        usage.log_in_once()
    return {each.name: each for each in loop.consumption().items}


def test_each_version_is_taken_once_as_soon_as_it_is_applied(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied = {"orders-db": 1}
    assert look(loop, world)["orders-db"].version == 1
    look(loop, world)
    world.applied = {"orders-db": 2}
    assert look(loop, world)["orders-db"].version == 2
    assert world.asked == [("orders-db", 1), ("orders-db", 2)]


def test_the_agent_is_asked_patiently_once_all_is_taken(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied, world.store_errors = {"orders-db": 1}, {"orders-db": NotFound("none")}
    look(loop, world)
    look(loop, world)
    assert world.patience == [False, False], "the store said no"
    world.store_errors, world.seconds = {}, TRY_AGAIN_SECONDS
    look(loop, world)
    look(loop, world)
    assert world.patience[2:] == [False, True]
    world.agent_away = True
    look(loop, world)
    look(loop, world)
    assert world.patience[4:] == [True, False], "the agent is away"


def test_an_older_version_that_is_applied_again_is_taken(
    loop: ConsumptionLoop, world: World
) -> None:
    for version in (2, 1):
        world.applied = {"orders-db": version}
        assert look(loop, world)["orders-db"].version == version


def test_a_binding_that_is_gone_is_left_and_may_come_back(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied = {"orders-db": 1}
    look(loop, world)
    first = world.usages["orders-db"]
    world.applied = {}
    assert look(loop, world) == {}
    assert not first.is_running
    world.applied = {"orders-db": 1}
    assert look(loop, world)["orders-db"].version == 1
    assert world.usages["orders-db"].is_running


def test_what_was_counted_is_kept_while_a_binding_is_gone(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied = {"orders-db": 1}
    look(loop, world)
    world.database.known.clear()
    assert look(loop, world)["orders-db"].refused == 1
    world.database.away = True
    assert look(loop, world)["orders-db"].failed == 1
    world.database.away, world.applied = False, {}
    loop.look()
    world.applied = {"orders-db": 1}
    seen = look(loop, world)["orders-db"]
    assert (seen.logins, seen.refused, seen.failed, seen.problem) == (2, 1, 1, None)


def test_a_binding_that_comes_back_waits_for_its_last_login(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied = {"orders-db": 1}
    look(loop, world)
    first = world.usages["orders-db"]
    world.applied = {}
    first.is_busy = True
    look(loop, world)
    world.applied = {"orders-db": 1}
    assert look(loop, world) == {}
    first.is_busy = False
    assert look(loop, world)["orders-db"].logins == first.consumed(None).logins + 1


def test_an_agent_that_is_away_changes_nothing_and_is_told(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied = {"orders-db": 1}
    look(loop, world)
    world.agent_away = True
    seen = look(loop, world)["orders-db"]
    assert (seen.version, seen.logins) == (1, 2)
    assert seen.problem == "The agent cannot be asked what is applied: gone"
    world.agent_away = False
    assert look(loop, world)["orders-db"].problem is None


def test_a_store_that_is_away_is_asked_once_a_round_and_logins_go_on(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied = {"audit-db": 1, "orders-db": 1}
    look(loop, world)
    world.applied = {"audit-db": 2, "orders-db": 2}
    world.store_errors = {"audit-db": AWAY, "orders-db": AWAY}
    world.asked.clear()
    seen = look(loop, world)
    assert world.asked == [("audit-db", 2)]
    assert (seen["audit-db"].version, seen["audit-db"].problem) == (1, "gone")
    assert (seen["orders-db"].version, seen["orders-db"].logins) == (1, 2)
    world.store_errors = {}
    back = look(loop, world)
    assert {each.version for each in back.values()} == {2}
    assert {each.problem for each in back.values()} == {None}


def test_a_version_the_store_refuses_is_asked_for_again_after_a_while(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied = {"audit-db": 7, "orders-db": 1}
    world.store_errors = {"audit-db": NotFound("no such version")}
    seen = look(loop, world)
    assert (seen["audit-db"].version, seen["audit-db"].problem) == (None, "no such version")
    assert seen["orders-db"].version == 1, "one secret stops no other"
    look(loop, world)
    assert world.asked.count(("audit-db", 7)) == 1
    world.seconds += TRY_AGAIN_SECONDS
    world.store_errors = {}
    assert look(loop, world)["audit-db"].version == 7


def test_another_version_is_taken_at_once_after_a_refusal(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied = {"audit-db": 7}
    world.store_errors = {"audit-db": NotFound("no such version")}
    look(loop, world)
    world.applied, world.store_errors = {"audit-db": 8}, {}
    assert look(loop, world)["audit-db"].version == 8


def test_a_binding_that_goes_back_to_what_is_in_use_has_no_problem(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied = {"audit-db": 1}
    look(loop, world)
    world.applied, world.store_errors = {"audit-db": 7}, {"audit-db": NotFound("no such version")}
    assert look(loop, world)["audit-db"].problem == "no such version"
    world.applied = {"audit-db": 1}
    assert look(loop, world)["audit-db"].problem is None


def test_no_more_bindings_are_used_than_allowed(loop: ConsumptionLoop, world: World) -> None:
    world.applied = {f"db-{number}": 1 for number in range(MOST_BINDINGS + 2)}
    assert list(look(loop, world)) == [f"db-{number}" for number in range(MOST_BINDINGS)]


def test_it_runs_through_a_bug_and_stops_with_all_its_usages(
    loop: ConsumptionLoop, world: World
) -> None:
    world.applied, world.broken_rounds = {"orders-db": 1}, 2
    loop.start()
    while not world.asked:
        assert loop.is_alive()
    loop.stop()
    assert not loop.is_alive()
    assert not world.usages["orders-db"].is_running
