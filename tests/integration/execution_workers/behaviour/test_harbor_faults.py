"""Each call to Harbor with each fault: told, and after a repeat done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from execution_workers.ports import Marker
from execution_workers.providers.harbor.client import HarborClient, Robot
from execution_workers.providers.harbor.issuer import HarborIssuer
from idp_kernel.errors import ProviderRejected, Unavailable
from idp_kernel.ids import new_id
from tests.fixtures.vendors.harbor import Harbor
from tests.fixtures.vendors.stand_in import Answer, Fault
from tests.integration.execution_workers.behaviour.faults import (
    IS_TOLD_AS,
    NOT_THE_VENDORS,
    assert_told,
)
from tests.integration.execution_workers.behaviour.test_credential_issuer import (
    TEAM,
    Held,
    attempt,
    harbor_issuer,
)


@dataclass
class Place:
    harbor: Harbor
    held: Held


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Harbor() as harbor, harbor_issuer(harbor, tmp_path) as issuer:
        yield Place(harbor, Held(issuer, new_id(), {}))


def client_of(held: Held) -> HarborClient:
    assert isinstance(held.issuer, HarborIssuer)
    return held.issuer._client


def nothing(_: Held) -> None:
    """Begins with an empty Harbor."""


def drafted(held: Held) -> None:
    held.versions[1] = held.issuer.draft(held.secret_id, {}, team=TEAM)


def drafted_beside_another(held: Held) -> None:
    """The team has a project already."""
    Held(held.issuer, new_id(), {}).add(1)
    drafted(held)


def installed(held: Held) -> None:
    held.add(1)


def rotated(held: Held) -> None:
    held.add(1)
    held.add(2, beside=(1,))


def left_over(held: Held) -> None:
    """Three credentials, none retired; the fourth takes the place of the first."""
    rotated(held)
    held.add(3, beside=(2,))
    in_use = {3: held.versions[3]}
    held.versions[4] = held.issuer.draft(held.secret_id, in_use, team=TEAM)


@dataclass(frozen=True)
class Work:
    name: str
    before: Callable[[Held], None]
    do: Callable[[Held], object]
    calls: tuple[tuple[str, str, str], ...]
    """Method, a part of the path, and the operation as an error names it."""
    works: tuple[int, ...]
    """The versions that let somebody in after it."""
    robots: int
    """Of the secret, after it."""


ROBOTS, PROJECTS, LABELS = "/robots", "/projects", "/labels"
WORKS = (
    Work("draft", nothing, drafted, (("GET", ROBOTS, "read robots"),), (), 0),
    Work(
        "install",
        drafted,
        lambda held: held.install(1),
        (
            ("GET", ROBOTS, "read robots"),
            ("POST", PROJECTS, "create project"),
            ("POST", LABELS, "create label"),
            ("POST", ROBOTS, "create robot"),
            ("PATCH", ROBOTS, "set robot secret"),
            ("PUT", ROBOTS, "describe robot"),
        ),
        (1,),
        1,
    ),
    Work(
        "install in a project that is there",
        drafted_beside_another,
        lambda held: held.install(1),
        (("GET", PROJECTS, "read project"), ("GET", LABELS, "read labels")),
        (1,),
        1,
    ),
    Work(
        "install in the place of an elder",
        left_over,
        lambda held: held.install(4),
        (("PATCH", ROBOTS, "set robot secret"), ("PUT", ROBOTS, "describe robot")),
        (2, 3, 4),
        3,
    ),
    Work("verify", installed, lambda held: held.works(1),
         (("GET", "/service/token", "ask for a registry token"),), (1,), 1),
    Work("problem", installed, lambda held: held.problem(1),
         (("GET", ROBOTS, "read robots"),), (1,), 1),
    Work("retire", rotated, lambda held: held.retire_all_but(2),
         (("PATCH", ROBOTS, "set robot secret"), ("PUT", ROBOTS, "describe robot")), (2,), 2),
    Work("remove", rotated, lambda held: held.issuer.remove(held.secret_id, attempt()),
         (("DELETE", ROBOTS, "delete robot"),), (), 0),
)  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "work", "method", "path", "operation"),
    [
        pytest.param(fault, work, *call, id=f"{work.name}: {call[2]}: {fault}")
        for work in WORKS
        for call in work.calls
        for fault in IS_TOLD_AS
        if (fault, call[1]) != (Fault.EXPIRED, "/service/token")
    ],
)
def test_a_fault_is_told_and_a_repeat_does_it_once(
    place: Place, fault: Fault, work: Work, method: str, path: str, operation: str
) -> None:
    """A refused robot is no fault but what was to be found out."""
    harbor, held = place.harbor, place.held
    work.before(held)
    harbor.plan(fault, method, path)
    assert_told(fault, "harbor", operation, lambda: work.do(held))
    assert harbor.planned == [], "the fault was met"
    work.do(held)
    working = [version for version in held.versions if held.works(version)]
    assert tuple(working) == work.works
    names = [each.name for each in harbor.robots.values()]
    assert len(set(names)) == len(names)
    assert len(harbor.projects) <= 1
    assert all(len(each.labels) == 1 for each in harbor.projects.values())
    assert len(harbor.robots_of(held.secret_id)) == work.robots


@pytest.mark.parametrize("written", [{"project": "others"}, {}], ids=["another", "none"])
def test_a_version_that_names_another_project_brings_no_rights_there(
    place: Place, written: dict[str, str]
) -> None:
    """Who may write the team's secrets in the store chooses what a version says."""
    held, harbor = place.held, place.harbor
    rotated(held)
    elsewhere = Held(held.issuer, new_id(), {})
    elsewhere.versions[1] = held.issuer.draft(elsewhere.secret_id, {}, team="others")
    elsewhere.issuer.install(
        elsewhere.secret_id, elsewhere.versions[1], 1, attempt(), team="others"
    )
    for version, properties in held.versions.items():
        kept = {key: value for key, value in properties.items() if key != "project"}
        held.versions[version] = {**kept, **written}
    harbor.recorded.clear()
    changes: list[Callable[[], object]] = [
        lambda: held.install(2),
        lambda: held.install(3),
        lambda: held.retire_all_but(2),
    ]
    held.versions[3] = {**held.versions[2]}
    for work in changes:
        with pytest.raises(ProviderRejected, match="project") as refused:
            work()
        assert refused.value.code == "foreign_owner"
    assert {each.method for each in harbor.recorded} <= {"GET"}, "nothing was changed"
    assert "is not payments" in (held.issuer.verify(held.versions[2], team=TEAM) or "")
    named = {
        permission["namespace"]
        for robot in harbor.robots_of(held.secret_id).values()
        for permission in robot.permissions
    }
    assert named == {TEAM}


@pytest.mark.parametrize("body", NOT_THE_VENDORS)
def test_a_404_that_is_not_harbors_tells_nothing(
    place: Place, body: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that does not know Harbor's address must not pass for the end of a login."""
    held = place.held
    held.add(1)
    robot = Robot(7, "robot$x", Marker("", "", ""), None, is_disabled=False, expires_at=-1)
    looks: list[Callable[[], object]] = [
        lambda: held.issuer.logins_let_in(held.secret_id),
        lambda: held.issuer.end(held.secret_id, attempt()),
        lambda: client_of(held).project(TEAM),
        lambda: client_of(held).delete_robot(robot),
    ]
    monkeypatch.setattr(place.harbor, "answer", lambda _call: Answer(404, body))
    for look in looks:
        with pytest.raises(Unavailable) as told:
            look()
        assert told.value.code == "harbor_unreadable"


def test_harbor_never_says_404_of_a_list(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    harbor, held = place.harbor, place.held
    monkeypatch.setattr(harbor, "answer", lambda _call: Answer(404, harbor.refusal(404)))
    with pytest.raises(ProviderRejected) as told:
        held.issuer.logins_let_in(held.secret_id)
    assert told.value.code == "harbor_missing"


def test_a_robots_session_is_never_taken_for_another(place: Place) -> None:
    """Harbor opens a session with its first answer; the robot must be asked about by itself."""
    place.held.add(1)
    place.held.versions[1] = {**place.held.versions[1], "password": "another"}
    assert not place.held.works(1)
    assert all("cookie" not in each.headers for each in place.harbor.recorded)


def test_another_robot_prefix_is_told_by_its_setting(place: Place) -> None:
    place.harbor.prefix = "bot-"
    drafted(place.held)
    for _ in range(2):
        with pytest.raises(ProviderRejected, match="HARBOR_ROBOT_PREFIX") as refused:
            place.held.install(1)
        assert refused.value.code == "harbor_misconfigured"


def test_what_an_administrator_changed_by_hand_is_found(place: Place) -> None:
    held, harbor = place.held, place.harbor
    held.add(1)
    robot = harbor.robots_of(held.secret_id)["a"]
    robot.expires_at = 1
    assert "has expired" in (held.problem(1) or "")
    robot.disable = True
    assert "is disabled" in (held.problem(1) or "")
    assert held.issuer.verify(held.versions[1], team=TEAM) == "Harbor refuses the login"
    held.install(1)
    assert held.works(1)
    robot.permissions = [{"kind": "project", "namespace": "other", "access": []}]
    assert held.issuer.verify(held.versions[1], team=TEAM) == f"it may not pull images of {TEAM}"


def test_a_robot_pushes_only_where_the_setting_says_so(place: Place, tmp_path: Path) -> None:
    with harbor_issuer(place.harbor, tmp_path, push=True) as issuer:
        held = Held(issuer, new_id(), {})
        held.add(1)
        assert held.works(1)
    place.held.add(1)
    rights = {
        name: {access["action"] for access in robot.permissions[0]["access"]}
        for name, robot in (
            ("pushes", place.harbor.robots_of(held.secret_id)["a"]),
            ("pulls", place.harbor.robots_of(place.held.secret_id)["a"]),
        )
    }
    assert rights == {"pushes": {"pull", "push"}, "pulls": {"pull"}}


@pytest.mark.parametrize(
    ("is_admin", "granted"), [(True, [True, True, True]), (False, [False, None, None])]
)
def test_what_the_platforms_account_may_do_is_told(
    place: Place,
    is_admin: bool,  # noqa: FBT001 - a parameter of pytest
    granted: list[bool | None],
) -> None:
    place.harbor.is_admin = is_admin
    issuer = place.held.issuer
    assert isinstance(issuer, HarborIssuer)
    assert [each.granted for each in issuer.permissions()] == granted
    assert {each.method for each in place.harbor.recorded} == {"GET"}
