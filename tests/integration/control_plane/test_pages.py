"""What a page of a list costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from tests.integration.control_plane.conftest import Platform, Subject

SHORT, LONG = 2, 20


@contextmanager
def statements_of(platform: Platform) -> Iterator[list[str]]:
    """The statements that the platform runs while the block lasts."""
    run: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        run.append(statement)

    event.listen(platform.engine, "before_cursor_execute", note)
    try:
        yield run
    finally:
        event.remove(platform.engine, "before_cursor_execute", note)


@pytest.fixture
def subject(platform: Platform) -> Subject:
    """A team with as many applications, environments and secrets as the longest page shows."""
    subject = platform.new_subject()
    places = [subject.environment, *(f"{subject.environment}-{n}" for n in range(1, LONG))]
    for place in places[1:]:
        platform.admin.ok("/v1/environments", {"slug": place})
        platform.admin.ok(f"/v1/environments/{place}/activate")
    for number, place in enumerate(places):
        elsewhere = Subject(subject.team, subject.application, subject.application_id, place)
        platform.provision(elsewhere, "database", "queue")
        if number:
            body = {"team": subject.team, "slug": f"{subject.application}-{number}"}
            platform.admin.ok("/v1/applications", body)
    return subject


def test_a_page_costs_the_same_however_long_it_is(platform: Platform, subject: Subject) -> None:
    of_application, of_team = f"/v1/applications/{subject.application_id}", {"team": subject.team}
    lists: dict[str, dict[str, str]] = {
        "/v1/applications": of_team,
        f"{of_application}/environments": {},
        f"{of_application}/repositories": {},
        "/v1/application-environments": of_team,
        "/v1/secrets": of_team,
        "/v1/workflow-requests": of_team,
        "/v1/events": of_team,
    }
    for path, wanted in lists.items():
        costs = []
        for limit in (SHORT, LONG):
            with statements_of(platform) as run:
                page = platform.admin.seen(path, limit=limit, **wanted)
            assert len(page["items"]) == limit, path
            costs.append(len(run))
        assert costs[0] == costs[1], path


def test_each_thing_of_a_page_comes_with_its_own(platform: Platform, subject: Subject) -> None:
    applications = platform.admin.seen("/v1/applications", team=subject.team, limit=LONG)["items"]
    for shown in applications:
        assert shown == platform.admin.seen(f"/v1/applications/{shown['id']}")
        names = [f"{shown['slug']}", f"{shown['slug']}-deploy"]
        assert sorted(each["name"] for each in shown["repositories"]) == names
    path = f"/v1/applications/{subject.application_id}/environments"
    for shown in platform.admin.seen(path, limit=LONG)["items"]:
        assert shown == platform.admin.seen(f"/v1/application-environments/{shown['id']}")
        assert [each["name"] for each in shown["secrets"]] == ["database", "queue"]
