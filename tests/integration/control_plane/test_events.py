"""Events: a reader who pages by sequence misses none, whatever commits when."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy import Connection

from control_plane.adapters.database import transaction
from control_plane.adapters.journal import SqlJournal
from idp_kernel.ids import new_id
from tests.integration.control_plane.conftest import Platform

WRITERS, EACH = 8, 12


def test_a_reader_never_skips_an_event_that_commits_late(platform: Platform) -> None:
    subject = platform.new_subject()
    done, seen = threading.Event(), list[tuple[int, str]]()
    last = platform.admin.seen("/v1/events", team=subject.team)["items"][-1]["sequence"]

    def read() -> None:
        after = last
        while True:
            was_done = done.is_set()
            page = platform.admin.seen("/v1/events", team=subject.team, after=after)["items"]
            seen.extend((event["sequence"], event["subject"]) for event in page)
            after = page[-1]["sequence"] if page else after
            if was_done and not page:
                return

    def write(writer: int) -> None:
        for number in range(EACH):
            # Work of different length between the first statement and the commit.
            with platform.services.begin() as work:
                team = work.teams.by_slug(subject.team)
                assert team is not None
                for _ in range(writer):
                    work.teams.by_slug(subject.team)
                work.journal.event(
                    "team_member_added",
                    subject=f"team/{writer}-{number}",
                    actor="test",
                    team_id=team.id,
                )

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reader = pool.submit(read)
        list(pool.map(write, range(WRITERS)))
        done.set()
        reader.result()
    sequences = [sequence for sequence, _ in seen]
    assert sequences == sorted(set(sequences))
    subjects = {subject for _, subject in seen}
    assert subjects == {f"team/{w}-{n}" for w in range(WRITERS) for n in range(EACH)}


@pytest.mark.usefixtures("patience")
def test_an_event_is_not_seen_before_one_that_came_earlier(platform: Platform) -> None:
    team = platform.admin.seen(f"/v1/teams/{platform.new_subject().team}")
    before = platform.events(team=team["slug"])

    def tell(connection: Connection, type_: str) -> None:
        journal = SqlJournal(connection, platform.clock.now())
        journal.event(type_, subject="team/x", actor="test", team_id=team["id"])
        journal.flush()

    def tell_and_commit() -> None:
        with transaction(platform.engine) as connection:
            tell(connection, "team_resumed")

    with ThreadPoolExecutor(1) as pool:
        with transaction(platform.engine) as slow:
            tell(slow, "team_suspended")
            quick = pool.submit(tell_and_commit)
            done, _ = wait([quick], timeout=0.3)
            assert not done
            assert platform.events(team=team["slug"]) == before
        quick.result()
    assert platform.events(team=team["slug"]) == [*before, "team_suspended", "team_resumed"]


def test_an_undone_transaction_tells_nothing(platform: Platform) -> None:
    subject = platform.new_subject()
    before = platform.events(team=subject.team)
    refused = platform.admin.post(f"/v1/teams/{subject.team}/resume", key=new_id())
    assert refused.status_code == 409
    assert platform.events(team=subject.team) == before


def test_events_of_commands_come_in_order_with_their_actor(platform: Platform) -> None:
    team = f"team-{new_id()[-10:]}"
    platform.admin.ok("/v1/teams", {"slug": team, "displayName": "Team"})
    for move in ("activate", "suspend", "archive"):
        platform.admin.ok(f"/v1/teams/{team}/{move}")
    events = platform.admin.seen("/v1/events", team=team)["items"]
    assert [event["type"] for event in events] == [
        "team_created",
        "team_activated",
        "team_suspended",
        "team_archived",
    ]
    assert {event["actor"] for event in events} == {"admin"}
    assert len({event["id"] for event in events}) == len(events)
    (archived,) = platform.admin.seen("/v1/events", team=team, type="team_archived")["items"]
    assert archived == events[-1]
    own = platform.admin.seen("/v1/events", subject=archived["subject"])["items"]
    assert [each["type"] for each in own] == [
        "team_created",
        "team_activated",
        "team_suspended",
        "team_archived",
    ]
