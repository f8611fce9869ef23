"""Tells everybody who watches what has been committed, with one look at the database for all.

A notification wakes the one thread here. It reads what is new and hands it to whom it concerns;
what each may see and wants to see is decided in memory.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from control_plane.api.subscriptions import Subscription
from control_plane.api.watches import (
    EventWatch,
    RequestWatch,
    Watch,
    event_message,
    request_message,
)
from control_plane.application.access import Caller
from control_plane.application.queries import CommittedEvent, Queries
from idp_kernel.errors import Unavailable
from idp_kernel.http.event_stream import encoded
from idp_kernel.wire.api import WorkflowRequest
from idp_kernel.workflows import RESULT_OF_STATE

LOOK_EVERY_SECONDS: Final = 5.0
"""How often the thread looks by itself, should a notification have been missed."""
CHECK_ACCESS_EVERY_SECONDS: Final = 15.0
"""How often it looks who may still watch; for a new watch, and after an event that may have changed
it, at once."""
MOST_WATCHES: Final = 800
"""Each holds a socket, of which a process has about a thousand, and commands need some too."""
SERVER_ENDS: Final = "the server ends"
REQUEST_HAS_ENDED: Final = "the request has ended"
NOT_LET_IN: Final = "the token does not open this any more"

_BETWEEN_LOOKS_SECONDS: Final = 0.05
"""Many commits in a row cost few looks."""
_AFTER_FAILURE_SECONDS: Final = 1.0
_PAGE: Final = 500
_ACCESS_EVENTS: Final = ("token_", "team_member_", "platform_admin_")
"""How the events begin that may have changed who may watch."""
_log = structlog.get_logger(__name__)

Access = Callable[[Collection[str]], Mapping[str, Caller]]
"""The callers behind those of the tokens, given by id, that still open something."""


class Feed:
    """A background thread, one for the process. Before it is started and once it is closed a watch
    ends as soon as it begins.

    While the database is away watches stay, and are told what they missed when it is back.
    """

    def __init__(self, queries: Queries, access: Access) -> None:
        self._queries = queries
        self._access = access
        # A signal handler may close it while its own thread is inside: hence re-entrant.
        self._lock = threading.RLock()
        self._is_open = False
        self._watches: set[Watch] = set()
        self._changed: set[str] = set()
        self._position: int | None = None
        """The sequence that every watch has been told up to; none while there is no watch."""
        self._look_at_all_at = 0.0
        self._check_access_at = 0.0
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        self._is_open = True
        self._thread.start()

    def close(self) -> None:
        """Ends every watch: the process is about to end. Callable from a signal handler."""
        self._is_open = False
        with self._lock:
            for watch in self._watches:
                watch.subscription.end(SERVER_ENDS)

    def stop(self) -> None:
        """Closes it, ends the thread and waits for it."""
        self.close()
        self._stopped.set()
        self._woken.set()
        self._thread.join()

    def hear_of_events(self, _told: str) -> None:
        """There may be new events."""
        self._woken.set()

    def hear_of_request(self, request_id: str) -> None:
        """That request may have changed; an empty id says that any may have."""
        with self._lock:
            if request_id:
                self._changed.add(request_id)
            else:
                self._look_at_all_at = 0.0
        self._woken.set()

    def check_room(self) -> None:
        """Raises `Unavailable` (`too_many_watches`) when as many watch as one process can serve."""
        if len(self._watches) >= MOST_WATCHES:
            raise Unavailable(
                f"As many watch as this server has room for ({MOST_WATCHES}); try again later.",
                code="too_many_watches",
                retry_after_seconds=LOOK_EVERY_SECONDS,
            )

    @contextmanager
    def watched(self, watch: Watch) -> Iterator[Subscription]:
        """What the watch is told, as long as the block lasts. Raises as `check_room` does, should
        others have come since that was asked.
        """
        with self._lock:
            self.check_room()
            self._watches.add(watch)
        if not self._is_open:
            watch.subscription.end(SERVER_ENDS)
        self._woken.set()
        try:
            yield watch.subscription
        finally:
            with self._lock:
                self._watches.discard(watch)

    # ── the thread ───────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(LOOK_EVERY_SECONDS)
            self._woken.clear()
            try:
                self._look()
            except Unavailable as error:
                _log.warning("feed_without_database", detail=error.message)
                self._look_again_after_failure()
            except Exception:  # noqa: BLE001 - a bug in one look must not end all; told as an error
                _log.exception("feed_failed")
                self._look_again_after_failure()
            self._stopped.wait(_BETWEEN_LOOKS_SECONDS)

    def _look_again_after_failure(self) -> None:
        self._stopped.wait(_AFTER_FAILURE_SECONDS)
        self.hear_of_request("")

    def _look(self) -> None:
        with self._lock:
            watches, changed = list(self._watches), self._changed
            self._changed = set()
        if not watches:
            self._position = None
            return
        is_due = time.monotonic() >= self._check_access_at
        if is_due or not all(watch.was_checked for watch in watches):
            self._check_access(watches)
        self._look_for_events(watches)
        self._look_for_requests(watches, changed)

    def _check_access(self, watches: Sequence[Watch]) -> None:
        callers = self._access({watch.caller.token_id for watch in watches})
        for watch in watches:
            watch.caller = callers.get(watch.caller.token_id, watch.caller)
            if watch.caller.token_id not in callers or not watch.may_go_on():
                watch.subscription.end(NOT_LET_IN)
            watch.was_checked = True
        self._check_access_at = time.monotonic() + CHECK_ACCESS_EVERY_SECONDS

    def _look_for_events(self, watches: Sequence[Watch]) -> None:
        """Tells what was committed since the last look; new watches begin behind it, those that
        catch up may read to it: up to there it is known who may still watch.
        """
        if self._position is None:
            self._position = self._queries.newest_sequence()
        while page := self._queries.events_after(self._position, _PAGE):
            if any(each.event.type.startswith(_ACCESS_EVENTS) for each in page):
                self._check_access(watches)
            _tell_events(page, watches)
            self._position = page[-1].event.sequence
            if len(page) < _PAGE:
                break
        for watch in watches:
            if isinstance(watch, EventWatch) and not watch.has_begun:
                _go_to(self._position, watch)

    def _look_for_requests(self, watches: Sequence[Watch], changed: set[str]) -> None:
        """Tells how those requests stand of which something changed, or that are watched anew."""
        watches_of = defaultdict[str, list[RequestWatch]](list)
        for watch in watches:
            if isinstance(watch, RequestWatch):
                watches_of[watch.request_id].append(watch)
                if not watch.has_begun:
                    changed.add(watch.request_id)
        if time.monotonic() >= self._look_at_all_at:
            self._look_at_all_at = time.monotonic() + LOOK_EVERY_SECONDS
            changed.update(watches_of)
        if due := changed & watches_of.keys():
            for request in self._queries.requests_in_full(due).values():
                _tell_request(request, watches_of[request.id])


def _go_to(position: int, watch: EventWatch) -> None:
    if watch.catches_up:
        watch.subscription.reach(position)
    else:
        watch.has_begun = True
        watch.subscription.begin(position)


def _tell_events(page: Sequence[CommittedEvent], watches: Sequence[Watch]) -> None:
    """Each event is written once, however many are told of it."""
    told = [(each, encoded(event_message(each.event))) for each in page]
    for watch in watches:
        if isinstance(watch, EventWatch) and watch.has_begun:
            messages = [message for each, message in told if watch.accepts(each)]
            if messages:
                watch.subscription.put(messages)


def _tell_request(request: WorkflowRequest, watches: Sequence[RequestWatch]) -> None:
    message = request_message(request)
    sent = encoded(message)
    for watch in watches:
        watch.has_begun = True
        if watch.seen != message.id:
            watch.seen = message.id
            watch.subscription.put([sent])
        if request.state in RESULT_OF_STATE:
            watch.subscription.end(REQUEST_HAS_ENDED)
