"""Streams: nothing is missed and nothing told twice, whoever is cut off, restarted or taken out."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import Engine, event, text

from control_plane import main
from control_plane.adapters.database import transaction
from control_plane.adapters.queries import SqlQueries
from control_plane.api import event_streams, feed, streams, subscriptions
from control_plane.application.ports import Work
from idp_kernel.http.event_stream import LAST_EVENT_ID
from idp_kernel.ids import new_id
from idp_kernel.services import LOOPBACK
from idp_kernel.wire.api import Event
from tests.fixtures.stack import FreshDatabase, free_port, private_directory
from tests.integration.control_plane.conftest import (
    ADMIN_TOKEN,
    LONG_LEASES,
    Keys,
    Platform,
    eventually,
    settings_for,
)
from tests.integration.control_plane.engine_run import STEPS, claimed
from tests.integration.control_plane.own_postgres import OwnPostgres
from tests.integration.control_plane.process import served
from tests.integration.control_plane.serving import (
    EVENTS,
    STOPS_WITHIN_SECONDS,
    WATCH,
    Reading,
    Serving,
    Watcher,
    serving,
)

WRITERS, EACH, CUT_AFTER = 6, 40, 7


@pytest.fixture
def leases() -> dict[str, float]:
    return LONG_LEASES


@pytest.fixture(scope="module")
def server(migrated: FreshDatabase, keys: Keys) -> Iterator[Serving]:
    """A second replica beside `platform`, on the same database."""
    with serving(settings_for(migrated, keys)) as running:
        yield running


def told(work: Work, team: str, mark: str, **data: Any) -> None:
    """An event of the team, which `mark` tells apart."""
    found = work.teams.by_slug(team)
    assert found is not None
    work.journal.event(
        "team_member_added", subject=f"team/{mark}", actor="test", team_id=found.id, data=data
    )


def tell(platform: Platform, team: str, mark: str, **data: Any) -> None:
    with platform.services.begin() as work:
        told(work, team, mark, **data)


# ── events ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.endurance
def test_who_is_cut_off_again_and_again_misses_no_event_and_sees_none_twice(
    platform: Platform, server: Serving
) -> None:
    team = platform.new_subject().team
    watcher = Watcher(server, ADMIN_TOKEN)
    wanted = {f"team/{writer}-{number}" for writer in range(WRITERS) for number in range(EACH)}

    def write(writer: int) -> None:
        for number in range(EACH):
            # Work of different length between the first statement and the commit.
            with platform.services.begin() as work:
                for _ in range(writer):
                    work.teams.by_slug(team)
                told(work, team, f"{writer}-{number}")

    with ThreadPoolExecutor(WRITERS) as pool:
        with watcher.new_events(team=team) as reading:
            writing = [pool.submit(write, writer) for writer in range(WRITERS)]
            seen = [reading.event()]
        while {each.subject for each in seen} < wanted:
            with watcher.reading(EVENTS, after=str(seen[-1].sequence), team=team) as reading:
                left = len(wanted) - len(seen)
                seen.extend(reading.event() for _ in range(min(CUT_AFTER, left)))
        for each in writing:
            each.result()
    assert all(before.sequence < after.sequence for before, after in pairwise(seen))
    assert Counter(each.subject for each in seen) == Counter(wanted)
    assert [each.model_dump(mode="json") for each in seen] == _listed(platform, team, wanted)


def _listed(platform: Platform, team: str, subjects: set[str]) -> list[Any]:
    items, after = list[Any](), 0
    while page := platform.admin.seen("/v1/events", team=team, after=after, limit=200)["items"]:
        items += [each for each in page if each["subject"] in subjects]
        after = page[-1]["sequence"]
    return items


def test_a_stream_begins_after_what_its_address_says_with_more_than_a_page_missed(
    platform: Platform, server: Serving
) -> None:
    team = platform.new_subject().team
    first = platform.admin.seen("/v1/events", team=team)["items"][0]
    with platform.services.begin() as work:
        for number in range(450):
            told(work, team, str(number))
    watcher, subjects = Watcher(server, ADMIN_TOKEN), [f"team/{number}" for number in range(450)]
    wanted = {"team": team, "type": "team_member_added"}
    with watcher.reading(EVENTS, after=str(first["sequence"]), **wanted) as by_header:
        assert [by_header.event().subject for _ in subjects] == subjects
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    with watcher.reading(f"{EVENTS}?{query}&after={first['sequence']}") as by_query:
        assert [by_query.event().subject for _ in subjects] == subjects
        tell(platform, team, "new")
        assert by_query.event().subject == "team/new"


def test_a_stream_tells_where_events_are_not_kept_any_more(
    platform: Platform, server: Serving
) -> None:
    team = platform.new_subject().team
    seen = platform.admin.seen("/v1/events", team=team)["items"][0]["sequence"]
    with transaction(platform.engine) as connection:
        gone = text("DELETE FROM outbox_events WHERE sequence <= :seen + 1")
        connection.execute(gone, {"seen": seen})
    oldest = platform.admin.seen("/v1/events", after=0, limit=1)["items"][0]["sequence"]
    assert oldest > seen + 1
    with Watcher(server, ADMIN_TOKEN).reading(EVENTS, after=str(seen)) as reading:
        told = reading.message()
        assert (told.type, told.id) == ("events_gone", str(oldest - 1))
        assert json.loads(told.data)["continueAfter"] == oldest - 1
        assert reading.event().sequence == oldest


def test_a_stream_without_a_beginning_tells_what_comes_and_where_it_stands(
    platform: Platform, server: Serving
) -> None:
    team = platform.new_subject().team
    newest = platform.admin.seen("/v1/events", team=team)["items"][-1]["sequence"]
    with Watcher(server, ADMIN_TOKEN).reading(EVENTS, team=team) as reading:
        where = reading.message()
        assert (int(where.id) >= newest, where.data) == (True, "")
        tell(platform, team, "new")
        message = reading.message()
        event = Event.model_validate_json(message.data)
        assert (event.subject, message.id) == ("team/new", str(event.sequence))
        assert reading.text.startswith(b"retry: 2000\n\n")


def test_one_is_told_of_ones_own_teams_as_they_come_and_of_no_other(
    platform: Platform, server: Serving
) -> None:
    own, other = platform.new_subject().team, platform.new_subject().team
    principal = f"p-{new_id()[-12:]}"
    body = {"principal": principal, "role": "team-viewer"}
    platform.admin.ok(f"/v1/teams/{own}/members", body)
    watcher = Watcher(server, platform.token_for(principal))
    with watcher.new_events() as everything, watcher.new_events(team=other) as filtered:
        tell(platform, other, "foreign")
        platform.admin.ok("/v1/environments", {"slug": f"e-{new_id()[-10:]}"})
        tell(platform, own, "own")
        assert everything.event().subject == "team/own"
        platform.admin.ok(f"/v1/teams/{other}/members", body)
        tell(platform, other, "mine too")
        assert [everything.event().type for _ in range(2)] == ["team_member_added"] * 2
        assert filtered.event().actor == "admin"
        assert filtered.event().subject == "team/mine too"


@pytest.mark.parametrize("by", ["team", "subject", "requestId", "type"])
def test_a_stream_is_filtered_as_the_list_is(platform: Platform, server: Serving, by: str) -> None:
    subject, other = platform.new_subject(), platform.new_subject()
    request_id = platform.provision(subject)
    query = {
        "team": subject.team,
        "subject": f"workflow_request/{request_id}",
        "requestId": request_id,
        "type": "team_suspended",
    }
    watcher, filtered = Watcher(server, ADMIN_TOKEN), {by: query[by]}
    with watcher.reading(EVENTS, **filtered) as reading:
        start = reading.message().id
        platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel")
        platform.admin.ok(f"/v1/teams/{other.team}/suspend")
        platform.admin.ok(f"/v1/teams/{subject.team}/suspend")
        listed = platform.admin.seen("/v1/events", after=start, **filtered)["items"]
        everything = platform.admin.seen("/v1/events", after=start)["items"]
        assert 0 < len(listed) < len(everything)
        assert [reading.event().model_dump(mode="json") for _ in listed] == listed
    with watcher.reading(EVENTS, after=start, **filtered) as reading:
        assert [reading.event().model_dump(mode="json") for _ in listed] == listed


# ── requests ─────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_told_as_it_stands_then_at_each_change_to_its_end(
    platform: Platform, server: Serving
) -> None:
    request_id = platform.provision(platform.new_subject())
    with Watcher(server, ADMIN_TOKEN).reading(WATCH.format(request_id)) as reading:
        assert reading.state().state == "pending"
        run = claimed(platform, request_id)
        assert reading.state().attempts[0].run_id == run.run_id
        for step in STEPS[:-1]:
            run.start(step)
            began = reading.state().steps[-1]
            assert (began.step, began.state) == (step, "running")
            run.end(step)
            assert reading.state().steps[-1].state == "succeeded"
        assert run.finalize().json()["state"] == "succeeded"
        ended = reading.state()
        assert ended.model_dump(mode="json") == platform.request(request_id)
        assert ended.state == "succeeded"
        assert reading.rest() == []
        assert reading.text.endswith(b": the request has ended\n\n")


def test_a_state_that_was_seen_is_not_told_again(platform: Platform, server: Serving) -> None:
    request_id = platform.provision(platform.new_subject())
    watcher, path = Watcher(server, ADMIN_TOKEN), WATCH.format(request_id)
    with watcher.reading(path) as reading:
        seen = reading.message().id
    with watcher.reading(path, after=seen) as reading:
        eventually(lambda: server.watches == 1)
        run = claimed(platform, request_id)
        message = reading.message()
        assert json.loads(message.data)["state"] == "running"
    run.fail(STEPS[0], retryable=False)
    with watcher.reading(path, after=message.id) as reading:
        (end,) = reading.rest()
        assert json.loads(end.data)["state"] == "failed"
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", LAST_EVENT_ID: end.id}
    answer = httpx.get(f"{server.url}{path}", headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/retry")
    with watcher.reading(path, after=end.id) as reading:
        assert reading.state().state == "pending"


def test_what_nobody_is_shown_wakes_nobody(platform: Platform, server: Serving) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    with Watcher(server, ADMIN_TOKEN).reading(WATCH.format(run.request_id)) as reading:
        reading.state()
        assert run.say("lease").status_code == 200
        run.start(STEPS[0])
        assert reading.state().steps[-1].state == "running"


# ── who may watch, and for how long ──────────────────────────────────────────────────────────


def test_a_revoked_token_ends_its_streams_at_once(
    platform: Platform, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = platform.new_subject()
    body = {"principal": f"p-{new_id()[-12:]}", "role": "team-viewer"}
    platform.admin.ok(f"/v1/teams/{subject.team}/members", body)
    made = platform.admin.ok("/v1/tokens", {"principal": body["principal"]})
    monkeypatch.setattr(feed, "LOOK_EVERY_SECONDS", 3600)
    watcher = Watcher(server, made["token"])
    path = WATCH.format(platform.provision(subject))
    with watcher.new_events() as events, watcher.reading(path) as states:
        states.state()
        assert platform.admin.delete(f"/v1/tokens/{made['id']}").is_success
        for reading in (events, states):
            reading.rest()
            assert reading.text.endswith(b": the token does not open this any more\n\n")
    again = httpx.get(f"{server.url}{EVENTS}", headers={"Authorization": f"Bearer {watcher.token}"})
    assert (again.status_code, again.json()["code"]) == (401, "token_revoked")


def test_a_token_that_expires_ends_its_streams(
    platform: Platform, migrated: FreshDatabase, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(feed, "CHECK_ACCESS_EVERY_SECONDS", 0.1)
    token = platform.token_for(f"p-{new_id()[-12:]}", expiresInSeconds=60)
    with (
        serving(settings_for(migrated, keys), platform.clock) as server,
        Watcher(server, token).new_events() as reading,
    ):
        platform.clock.advance(61)
        assert reading.rest() == []


@pytest.fixture
def pages_after_the_first(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Whoever reads what was missed waits before the second page for this to be set."""
    gate, read = threading.Event(), SqlQueries.events
    pages = itertools.count(1)

    def events(*arguments: Any) -> Sequence[Event]:
        if next(pages) > 1:
            assert gate.wait(STOPS_WITHIN_SECONDS)
        return read(*arguments)

    monkeypatch.setattr(SqlQueries, "events", events)
    yield gate
    gate.set()


def many_missed(platform: Platform, team: str) -> str:
    """The sequence before some pages of events of that team."""
    with platform.services.begin() as work:
        newest = platform.services.queries.newest_sequence()
        for number in range(450):
            told(work, team, str(number))
    return str(newest)


def test_a_token_that_is_revoked_while_its_stream_catches_up_is_sent_no_more(
    platform: Platform, server: Serving, pages_after_the_first: threading.Event
) -> None:
    team = platform.new_subject().team
    principal = f"p-{new_id()[-12:]}"
    platform.admin.ok(f"/v1/teams/{team}/members", {"principal": principal, "role": "team-viewer"})
    made = platform.admin.ok("/v1/tokens", {"principal": principal})
    start = many_missed(platform, team)
    with (
        Watcher(server, ADMIN_TOKEN).new_events(type="token_revoked") as admins,
        Watcher(server, made["token"]).reading(EVENTS, after=start, team=team) as reading,
    ):
        seen = [reading.event()]
        assert platform.admin.delete(f"/v1/tokens/{made['id']}").is_success
        assert admins.event().type == "token_revoked"
        pages_after_the_first.set()
        seen += [Event.model_validate_json(each.data) for each in reading.rest()]
        assert reading.text.endswith(b": the token does not open this any more\n\n")
    assert len(seen) == streams._PAGE


def test_who_leaves_a_team_while_a_stream_catches_up_is_sent_no_more_of_it(
    platform: Platform, server: Serving, pages_after_the_first: threading.Event
) -> None:
    own, other = platform.new_subject().team, platform.new_subject().team
    principal = f"p-{new_id()[-12:]}"
    for team in (own, other):
        body = {"principal": principal, "role": "team-viewer"}
        platform.admin.ok(f"/v1/teams/{team}/members", body)
    start = many_missed(platform, other)
    watcher = Watcher(server, platform.token_for(principal))
    with (
        Watcher(server, ADMIN_TOKEN).new_events(type="team_member_removed") as admins,
        watcher.reading(EVENTS, after=start) as reading,
    ):
        seen = [reading.event().team]
        assert platform.admin.delete(f"/v1/teams/{other}/members/{principal}").is_success
        assert admins.event().type == "team_member_removed"
        tell(platform, own, "own")
        pages_after_the_first.set()
        while seen[-1] == other:
            seen.append(reading.event().team)
    assert seen == [other] * streams._PAGE + [own]


def test_who_is_no_platform_admin_any_more_is_sent_no_more_than_a_member(
    platform: Platform, server: Serving
) -> None:
    own, other = platform.new_subject().team, platform.new_subject()
    principal = f"p-{new_id()[-12:]}"
    platform.admin.ok(f"/v1/teams/{own}/members", {"principal": principal, "role": "team-viewer"})
    token = platform.token_for(principal, platformAdmin=True)
    request_id = platform.provision(other)
    with (
        Watcher(server, ADMIN_TOKEN).new_events(type="platform_admin_removed") as admins,
        Watcher(server, token).new_events() as reading,
        Watcher(server, token).reading(WATCH.format(request_id)) as watching,
    ):
        watching.state()
        tell(platform, other.team, "before")
        assert reading.event().subject == "team/before"
        assert platform.admin.delete(f"/v1/platform-admins/{principal}").is_success
        assert admins.event().data == {"principal": principal}
        tell(platform, own, "own")
        assert reading.event().subject == "team/own"
        watching.rest()
        assert watching.text.endswith(b": the token does not open this any more\n\n")


def test_streams_take_a_token_and_a_foreign_request_is_told_like_none(
    platform: Platform, server: Serving
) -> None:
    request_id = platform.provision(platform.new_subject())
    stranger = platform.member(platform.new_subject().team, "team-maintainer")
    path = WATCH.format(request_id)
    headers = {"Authorization": f"Bearer {stranger.token}"}
    assert httpx.get(f"{server.url}{path}", headers=headers).json()["code"] == "not_found"
    for each in (path, EVENTS):
        assert httpx.get(f"{server.url}{each}").json()["code"] == "token_missing"


def one_watch_at_most(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once those of earlier tests are gone."""
    eventually(lambda: server.watches == 0)
    monkeypatch.setattr(feed, "MOST_WATCHES", 1)


def test_more_watchers_than_there_is_room_for_are_told_to_come_again(
    platform: Platform, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_watch_at_most(server, monkeypatch)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    with Watcher(server, ADMIN_TOKEN).new_events():
        refused = httpx.get(f"{server.url}{EVENTS}", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_watches")
        assert int(refused.headers["Retry-After"]) >= 1
    eventually(lambda: server.watches == 0)
    with Watcher(server, ADMIN_TOKEN).new_events():
        assert server.watches == 1


def test_one_who_still_catches_up_takes_a_place(
    platform: Platform,
    server: Serving,
    pages_after_the_first: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_watch_at_most(server, monkeypatch)
    team = platform.new_subject().team
    request_id, start = platform.provision(platform.new_subject()), many_missed(platform, team)
    watcher, headers = Watcher(server, ADMIN_TOKEN), {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    with watcher.reading(EVENTS, after=start, team=team) as reading:
        reading.event()
        for path in (EVENTS, WATCH.format(request_id)):
            refused = httpx.get(f"{server.url}{path}", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (503, "too_many_watches")
        pages_after_the_first.set()


def test_of_those_who_come_at_once_no_more_are_served_than_there_is_room_for(
    platform: Platform, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_was_asked, check_room = threading.Barrier(2), feed.Feed.check_room

    def check_together(the_feed: feed.Feed) -> None:
        check_room(the_feed)
        if threading.current_thread().name != "server":
            everybody_was_asked.wait(STOPS_WITHIN_SECONDS)

    one_watch_at_most(server, monkeypatch)
    monkeypatch.setattr(feed.Feed, "check_room", check_together)
    path = WATCH.format(platform.provision(platform.new_subject()))
    watcher = Watcher(server, ADMIN_TOKEN)

    def what_comes_first(_number: int) -> bytes:
        with watcher.reading(path) as reading:
            for _piece in reading.pieces:
                if b"data: " in reading.text:
                    break
            everybody_was_asked.wait(STOPS_WITHIN_SECONDS)
            return reading.text

    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(what_comes_first, range(2)))
    assert sum(b"As many watch as this server has room for" in text for text in texts) == 1
    assert sum(b"data: " in text for text in texts) == 1


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────


def test_who_reads_nothing_is_cut_off_and_goes_on_where_it_was(
    platform: Platform, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = platform.new_subject().team
    start = platform.admin.seen("/v1/events", team=team)["items"][-1]["sequence"]
    with monkeypatch.context() as impatient:
        impatient.setattr(event_streams, "TAKES_WITHIN_SECONDS", 0.5)
        impatient.setattr(subscriptions, "LONGEST_BACKLOG", 50)
        with (
            Watcher(server, ADMIN_TOKEN).new_events(team=team) as attentive,
            not_reading(server, f"{EVENTS}?team={team}"),
        ):
            eventually(lambda: server.watches == 2)
            number = 0
            while server.watches == 2:
                tell(platform, team, str(number), padding="x" * 100_000)
                assert attentive.event().subject == f"team/{number}"
                number += 1
                assert number < 500
    with Watcher(server, ADMIN_TOKEN).reading(EVENTS, after=str(start), team=team) as reading:
        assert [reading.event().subject for _ in range(number)] == [
            f"team/{each}" for each in range(number)
        ]


def test_the_connection_of_who_reads_nothing_is_closed(
    platform: Platform, migrated: FreshDatabase, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "TAKES_WITHIN_SECONDS", 0.5)
    monkeypatch.setattr(main, "UNTAKEN_WITHIN_SECONDS", 1)
    team = platform.new_subject().team
    with (
        serving(settings_for(migrated, keys)) as server,
        not_reading(server, f"{EVENTS}?team={team}") as connection,
    ):
        own = psutil.Process()
        far_end = connection.getsockname()

        def is_held() -> bool:
            return any(
                each.raddr == far_end and each.laddr and each.laddr[1] == server.port
                for each in own.net_connections("tcp4")
            )

        eventually(lambda: server.watches_begun == 1)
        with platform.services.begin() as work:
            for number in range(100):
                told(work, team, str(number), padding="x" * 100_000)
        eventually(lambda: server.watches == 0)
        eventually(lambda: not is_held())


def not_reading(server: Serving, path: str) -> socket.socket:
    """A connection with a small buffer that takes no more than fits into it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((LOOPBACK, server.port))
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {ADMIN_TOKEN}", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def test_a_missed_notification_loses_nothing(
    platform: Platform, migrated: FreshDatabase, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "EVENTS_CHANNEL", "nobody_speaks_here")
    monkeypatch.setattr(main, "REQUESTS_CHANNEL", "nor_here")
    monkeypatch.setattr(feed, "LOOK_EVERY_SECONDS", 0.3)
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    with serving(settings_for(migrated, keys), platform.clock) as server:
        watcher = Watcher(server, ADMIN_TOKEN)
        with (
            watcher.new_events(team=subject.team) as events,
            watcher.reading(WATCH.format(request_id)) as states,
        ):
            assert states.state().state == "pending"
            tell(platform, subject.team, "unheard")
            assert events.event().subject == "team/unheard"
            claimed(platform, request_id)
            assert states.state().state == "running"


@pytest.mark.endurance
def test_a_database_that_is_killed_and_comes_back_loses_nothing(keys: Keys) -> None:
    with private_directory("idp-streams-") as home:
        own = OwnPostgres(home, free_port())
        with (
            own.running() as kill,
            serving(settings_for(own.new_database(), keys)) as server,
            httpx.Client(base_url=server.url) as client,
            Watcher(server, ADMIN_TOKEN).new_events() as reading,
        ):
            team = new_team(client)
            assert reading.event().subject == f"team/{team}"
            kill()
            eventually(lambda: client.get("/readyz").status_code == 503)
            with own.running():
                eventually(lambda: client.get("/readyz").status_code == 200)
                team = new_team(client)
                assert reading.event().subject == f"team/{team}"


def new_team(client: httpx.Client) -> str:
    """The id of a team made over HTTP."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Idempotency-Key": new_id()}
    body = {"slug": f"t-{new_id()[-10:]}", "displayName": "A"}
    return str(client.post("/v1/teams", json=body, headers=headers).json()["id"])


def test_streams_end_at_once_and_cleanly_when_the_server_ends(
    platform: Platform, migrated: FreshDatabase, keys: Keys
) -> None:
    request_id = platform.provision(platform.new_subject())
    # Far more than it takes: one that waited for its streams would be late.
    with served(migrated, keys, IDP_CONTROL_PLANE_STOP_WITHIN_SECONDS="120") as process:
        watcher = Watcher(Serving(process.url, process.port, platform.services.feed), ADMIN_TOKEN)
        with (
            watcher.new_events() as events,
            watcher.reading(WATCH.format(request_id)) as states,
        ):
            states.state()
            process.process.send_signal(signal.SIGTERM)
            for reading in (events, states):
                reading.rest()
                assert reading.text.endswith(b": the server ends\n\n")
            assert process.process.wait(30) == 0
        assert '"level": "error"' not in process.log.read_text()


# ── what it costs ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How many statements each thread has run, looks by itself not among them."""
    monkeypatch.setattr(feed, "LOOK_EVERY_SECONDS", 3600)
    counted = Counter[str]()

    def count(*_arguments: object) -> None:
        counted[threading.current_thread().name] += 1

    event.listen(Engine, "before_cursor_execute", count)
    yield counted
    event.remove(Engine, "before_cursor_execute", count)


def test_many_watchers_of_events_cost_no_more_statements_than_one(
    platform: Platform, server: Serving, statements: Counter[str]
) -> None:
    team, costs = platform.new_subject().team, list[int]()
    for watchers in (1, 25):
        with many(watchers, lambda: Watcher(server, ADMIN_TOKEN).new_events(team=team)) as readings:
            before = statements["feed"]
            for number in range(10):
                tell(platform, team, str(number))
                heard = {reading.event().subject for reading in readings}
                assert heard == {f"team/{number}"}
            costs.append(statements["feed"] - before)
    alone, together = costs
    assert alone >= 10
    assert together <= alone + 5


def test_many_watchers_of_a_request_cost_no_more_statements_than_one(
    platform: Platform, server: Serving, statements: Counter[str]
) -> None:
    costs = list[int]()
    for watchers in (1, 25):
        run = claimed(platform, platform.provision(platform.new_subject()))
        path = WATCH.format(run.request_id)
        with many(watchers, lambda: Watcher(server, ADMIN_TOKEN).reading(path)) as readings:  # noqa: B023 - used in its turn
            assert {reading.state().state for reading in readings} == {"running"}
            before = statements["feed"]
            for step in STEPS[:-1]:
                run.start(step)
                assert {reading.state().steps[-1].step for reading in readings} == {step}
            costs.append(statements["feed"] - before)
    alone, together = costs
    assert alone >= len(STEPS) - 1
    assert together <= alone + 5


@contextmanager
def many(
    number: int, open_one: Callable[[], AbstractContextManager[Reading]]
) -> Iterator[list[Reading]]:
    """So many streams at once."""
    with ExitStack() as stack:
        yield [stack.enter_context(open_one()) for _ in range(number)]


def test_a_stream_counts_as_answered_when_it_begins(platform: Platform, server: Serving) -> None:
    before, asked = streams_counted(server), time.monotonic()
    with Watcher(server, ADMIN_TOKEN).new_events():
        began_within = time.monotonic() - asked
        time.sleep(1)
    eventually(lambda: streams_counted(server)["count"] > before["count"])
    assert streams_counted(server)["sum"] - before["sum"] < began_within + 1


@pytest.mark.parametrize("waits_in", ["newest_sequence", "events"])
def test_a_stream_shows_that_it_lives_before_it_has_begun(
    server: Serving, monkeypatch: pytest.MonkeyPatch, waits_in: str
) -> None:
    monkeypatch.setattr(event_streams, "HEARTBEAT_SECONDS", 0.05)
    gate, look = threading.Event(), getattr(SqlQueries, waits_in)

    def look_late(*arguments: Any) -> Any:
        assert gate.wait(STOPS_WITHIN_SECONDS)
        return look(*arguments)

    eventually(lambda: server.feed._position is None)
    monkeypatch.setattr(SqlQueries, waits_in, look_late)
    with Watcher(server, ADMIN_TOKEN).reading(EVENTS, after="0") as reading:
        for _ in range(3):
            reading.heartbeat()
        gate.set()
        assert reading.event().sequence > 0


def streams_counted(server: Serving) -> dict[str, float]:
    """How many streams the metrics have counted, and how long these took to answer in sum."""
    metrics = httpx.get(f"{server.url}/metrics").text
    counted = defaultdict[str, float](float)
    for line in metrics.splitlines():
        if line.startswith("http_request_duration_seconds_") and EVENTS in line:
            counted[line.split("{")[0].rpartition("_")[2]] += float(line.split()[-1])
    return counted
