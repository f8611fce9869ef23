"""Requests of every kind against one platform, and what each was about.

Commands are repeated with the same key until they are answered, as a client does that has none of
its own troubles.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx

from idp_kernel.ids import new_id
from tests.chaos.cells import Way
from tests.e2e.platform import ENDED, Platform

ANSWERED_WITHIN_SECONDS = 150
MADE_WITHIN_SECONDS = 300
LOOK_EVERY_SECONDS = 0.5
OPEN_STATES = ("pending", "running", "waiting")
GRACE_SECONDS = 2
Item = TypeVar("Item")
Result = TypeVar("Result")
SECRETS = ({"name": "app-key"}, {"name": "db", "issuer": "postgres"})


class NotAnswered(Exception):
    """A command got no answer for long, or one that it should not get."""


@dataclass
class Application:
    """One with repositories of its own, and at most one environment."""

    id: str
    slug: str
    onboarding: str
    """The request."""


@dataclass
class Environment:
    """An application's only one."""

    application: Application
    id: str
    provisioning: str
    secrets: dict[str, str] = field(default_factory=dict)
    """Ids by name, once it is provisioned."""
    revoked: set[str] = field(default_factory=set)
    """Names."""
    is_touched: bool = False
    """Whether more was asked for than its provisioning."""
    has_short_grace: bool = False


@dataclass
class Asked:
    """A request, and what is known of it."""

    way: Way
    application: Application
    environment: Environment | None
    secret: str | None = None
    """Its name."""
    request_id: str = ""
    """Empty until the command is answered."""
    state: str | None = None
    """At its end."""
    shown: dict[str, Any] = field(default_factory=dict)
    """As the API shows it at its end."""
    ended_at: float | None = None
    """By the clock of `time.monotonic`."""
    is_cancelled: bool = False
    """Whether its cancellation was asked for."""

    def __str__(self) -> str:
        return f"{self.way} {self.request_id or '(no answer yet)'}"


class Traffic:
    """A team's applications and environments, and all that was asked of them. Thread-safe."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self.platform = platform
        self.chosen = random.Random(seed)  # noqa: S311 - a repeatable choice
        self.asked: list[Asked] = []
        self.applications: list[Application] = []
        """Onboarded, without an environment."""
        self.environments: list[Environment] = []
        """Provisioned, in nobody's hands."""
        self._lock = threading.RLock()
        self._looking, self._looked_at = threading.Lock(), 0.0
        self._seen_open: set[str] = set()
        self._pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="traffic")

    def begin(self) -> None:
        """A team, and an environment that all applications have."""
        mark = new_id().replace("-", "")[-8:]
        self.team, self.environment = f"team-{mark}", f"dev-{mark}"
        self.command("/v1/teams", {"slug": self.team, "displayName": "Chaos"})
        self.command(f"/v1/teams/{self.team}/activate")
        self.command("/v1/environments", {"slug": self.environment})
        self.command(f"/v1/environments/{self.environment}/activate")

    # ------------------------------------------------------------ one request

    def take(self, way: Way) -> Asked:
        """What a request of that kind will be about; it is nobody else's until it has ended.

        Raises `LookupError` when there is nothing left of that kind (`take_all` makes it).
        """
        with self._lock:
            if way is Way.ONBOARDING:
                application = Application("", f"app-{new_id().replace('-', '')[-12:]}", "")
                return Asked(way, application, None)
            if way in _NEEDS_APPLICATION:
                return Asked(way, self._pop(self.applications, lambda _: True), None)
            fits = _FITS.get(way, lambda _: True)
            found = self._pop(self.environments, fits)
            return Asked(way, found.application, found, _secret_of(way))

    def ask(self, asked: Asked) -> Asked:
        """Sends the command until it is answered; raises `NotAnswered`."""
        path, body = self._command_of(asked)
        answer = self.command(path, body)
        asked.request_id = answer["requestId"]
        if asked.way is Way.ONBOARDING:
            asked.application.id = answer["applicationId"]
            asked.application.onboarding = asked.request_id
        elif asked.way is Way.PROVISIONING:
            asked.environment = Environment(
                asked.application, answer["applicationEnvironmentId"], asked.request_id
            )
        elif asked.environment is not None:
            asked.environment.is_touched = True
        with self._lock:
            self.asked.append(asked)
        return asked

    def prepare(self, asked: Asked) -> None:
        """What has to be said before the command itself."""
        environment = asked.environment
        if asked.way is Way.APPLICATION_DECOMMISSIONING:
            self.command(f"/v1/applications/{asked.application.id}/deprecate")
        if asked.way is Way.DECOMMISSIONING and environment is not None:
            self.command(f"/v1/application-environments/{environment.id}/freeze")
        if (
            asked.way is Way.ROTATION
            and environment is not None
            and not environment.has_short_grace
        ):
            environment.has_short_grace = True
            path = f"/v1/secrets/{environment.secrets[asked.secret or '']}/rotation-policy"
            self.command(path, {"graceSeconds": GRACE_SECONDS}, method="PUT")

    def following(self, lived: Asked, way: Way) -> Asked:
        """The next request for the same application, out of stock."""
        if way is Way.ONBOARDING:
            return lived
        with self._lock:
            for stock, one in (
                (self.applications, lived.application),
                (self.environments, lived.environment),
            ):
                if one in stock:
                    stock.remove(one)  # type: ignore[arg-type] # each is of its stock's kind
        return Asked(way, lived.application, lived.environment, _secret_of(way))

    def cancel(self, asked: Asked) -> None:
        """Asks for its cancellation, unless it has no answer yet or has ended."""
        if not asked.request_id:
            return
        asked.is_cancelled = True
        try:
            self.command(f"/v1/workflow-requests/{asked.request_id}/cancel", {"reason": "x"})
        except NotAnswered:
            asked.is_cancelled = False  # it has ended, as its end tells

    def retry(self, asked: Asked) -> None:
        """Has an ended request go on with its next attempt."""
        self.command(f"/v1/workflow-requests/{asked.request_id}/retry", {"reason": "x"})
        asked.ended_at = asked.state = None
        asked.is_cancelled = False

    def start(self, work: Callable[[], Any]) -> Any:
        """In the background."""
        return self._pool.submit(work)

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The work's answers, done for all at once."""
        return list(self._pool.map(work, items))

    def look(self, asked: Asked) -> bool:
        """Whether the request has ended; the first look that sees it takes it back into stock."""
        if asked.ended_at is not None:
            return True
        try:
            answer = self.platform.api("GET", f"/v1/workflow-requests/{asked.request_id}")
        except httpx.TransportError:
            return False
        if answer.status_code == 404:
            asked.shown = {"state": "forgotten"}
        elif answer.status_code != 200 or answer.json()["state"] not in ENDED:
            return False
        else:
            asked.shown = answer.json()
        asked.state = asked.shown["state"]
        ended_at = asked.shown.get("endedAt")
        asked.ended_at = time.monotonic() if ended_at is None else _by_our_clock(ended_at)
        if asked.state == "succeeded":
            self._take_back(asked)
        return True

    def await_ends(self, asked: Iterable[Asked], within_seconds: float) -> list[Asked]:
        """Those that have not ended when the time is over."""
        give_up_at = time.monotonic() + within_seconds
        waiting = list(asked)
        while waiting and time.monotonic() < give_up_at:
            open_ones = self._open_ones()
            waiting = [
                each for each in waiting if each.request_id in open_ones or not self.look(each)
            ]
            time.sleep(LOOK_EVERY_SECONDS)
        return waiting

    def _open_ones(self) -> set[str]:
        """Ids of requests that have not ended, as of a moment ago: one look for all who wait."""
        with self._looking:
            if time.monotonic() - self._looked_at > LOOK_EVERY_SECONDS:
                self._seen_open = self._look_at_all()
                self._looked_at = time.monotonic()
            return self._seen_open

    def _look_at_all(self) -> set[str]:
        """A page of each state; none while the API is away."""
        found: set[str] = set()
        for state in OPEN_STATES:
            path = f"/v1/workflow-requests?team={self.team}&state={state}&limit=200"
            try:
                answer = self.platform.api("GET", path)
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                found |= {each["id"] for each in answer.json()["items"]}
        return found

    # ------------------------------------------------------------------ stock

    def take_all(self, ways: Sequence[Way], spare: int = 0) -> tuple[list[Asked], list[Asked]]:
        """What requests of these kinds will be about, and the requests that made what was missing;
        those have ended. When something was, so many more are made of each kind.
        """
        # Who is choosy takes first.
        order = sorted(range(len(ways)), key=lambda at: ways[at] is not Way.UNDO_PROVISIONING)
        taken: dict[int, Asked] = {}
        missing: list[int] = []
        for at in order:
            try:
                taken[at] = self.take(ways[at])
            except LookupError:
                missing.append(at)
        more = [Way.DECOMMISSIONING, Way.PROVISIONING] * spare if missing else []
        made = self._make([*(ways[at] for at in missing), *more])
        taken.update({at: self.take(ways[at]) for at in missing})
        return [taken[at] for at in range(len(ways))], made

    def _make(self, ways: Sequence[Way]) -> list[Asked]:
        onboarded = self._ask_all(Way.ONBOARDING, max(0, len(ways) - len(self.applications)))
        self._all_end(onboarded)
        provisioned = self._ask_all(
            Way.PROVISIONING, sum(way in _NEEDS_ENVIRONMENT for way in ways)
        )
        self._all_end(provisioned)
        return onboarded + provisioned

    def command(self, path: str, body: object = None, method: str = "POST") -> dict[str, Any]:
        """The decoded answer, however often the API or its database is away meanwhile."""
        key, give_up_at, said = new_id(), time.monotonic() + ANSWERED_WITHIN_SECONDS, ""
        while time.monotonic() < give_up_at:
            try:
                answer = self.platform.api(method, path, body, key=key)
            except httpx.TransportError as error:
                said = str(error)
            else:
                if answer.status_code < 300:
                    found: dict[str, Any] = answer.json()
                    return found
                said = f"{answer.status_code} {answer.text}"
                if answer.status_code < 500 and answer.status_code != 429:
                    break
            time.sleep(LOOK_EVERY_SECONDS)
        raise NotAnswered(f"{method} {path}: {said}")

    def _command_of(self, asked: Asked) -> tuple[str, dict[str, Any]]:
        application, why = asked.application, {"reason": "x"}
        if asked.way is Way.ONBOARDING:
            return "/v1/applications", {"team": self.team, "slug": application.slug}
        if asked.way is Way.PROVISIONING:
            path = f"/v1/applications/{application.id}/environments"
            return path, {"environment": self.environment, "secrets": SECRETS}
        if asked.way is Way.UNDO_ONBOARDING:
            return f"/v1/workflow-requests/{application.onboarding}/undo", why
        if asked.way is Way.APPLICATION_DECOMMISSIONING:
            return f"/v1/applications/{application.id}/decommission", why
        assert asked.environment is not None
        return _command_for(asked, asked.environment, why)

    def _take_back(self, asked: Asked) -> None:
        with self._lock:
            environment = asked.environment
            if asked.way is Way.ONBOARDING:
                self.applications.append(asked.application)
            elif environment is None or asked.way in _ENDS:
                return
            else:
                if asked.way is Way.PROVISIONING:
                    environment.secrets = self._secrets_of(environment)
                if asked.way is Way.REVOCATION:
                    environment.revoked.add(asked.secret or "")
                self.environments.append(environment)

    def _secrets_of(self, environment: Environment) -> dict[str, str]:
        """Their ids were given with the command; asked for until the API answers."""
        path = f"/v1/application-environments/{environment.id}"
        shown = self.command(path, method="GET")
        return {each["name"]: each["id"] for each in shown["secrets"]}

    def _pop(self, stock: list[Any], fits: Callable[[Any], bool]) -> Any:
        """The one that fits and is touched most, so that those that are not stay for whom needs
        them.
        """
        fitting = [each for each in stock if fits(each)]
        if not fitting:
            raise LookupError("nothing of that kind is left")
        found = max(fitting, key=lambda each: getattr(each, "is_touched", False))
        stock.remove(found)
        return found

    def _ask_all(self, way: Way, number: int) -> list[Asked]:
        return self.each(lambda _: self.ask(self.take(way)), range(number))

    def _all_end(self, asked: Sequence[Asked]) -> None:
        late = self.await_ends(asked, MADE_WITHIN_SECONDS)
        if late:
            raise NotAnswered(f"{', '.join(map(str, late))} did not end, nor can others begin")


def got_on_at(ended: Asked, since: float) -> float:
    """When the next step of an ended request succeeded after `since`, or else when it ended; by the
    clock of `time.monotonic`.
    """
    assert ended.ended_at is not None
    succeeded = [
        _by_our_clock(each["endedAt"])
        for each in ended.shown.get("steps", ())
        if each["state"] == "succeeded" and each["endedAt"] is not None
    ]
    return min([each for each in succeeded if each > since], default=ended.ended_at)


def _by_our_clock(shown: str) -> float:
    """A time that the API shows, by the clock of `time.monotonic`."""
    ago = datetime.now(UTC) - datetime.fromisoformat(shown)
    return time.monotonic() - ago.total_seconds()


def _command_for(
    asked: Asked, environment: Environment, why: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    if asked.way is Way.UNDO_PROVISIONING:
        return f"/v1/workflow-requests/{environment.provisioning}/undo", why
    if asked.way is Way.DECOMMISSIONING:
        return f"/v1/application-environments/{environment.id}/decommission", why
    secret = environment.secrets[asked.secret or ""]
    if asked.way is Way.REVOCATION:
        return f"/v1/secrets/{secret}/revoke", why
    body = {"emergency": True, **why} if asked.way is Way.EMERGENCY else {}
    return f"/v1/secrets/{secret}/rotation", body


def _secret_of(way: Way) -> str | None:
    return "db" if way in _NEEDS_SECRET else None


_NEEDS_APPLICATION = {
    Way.PROVISIONING,
    Way.UNDO_ONBOARDING,
    Way.APPLICATION_DECOMMISSIONING,
}
"""One without an environment."""
_ENDS = {
    Way.UNDO_ONBOARDING,
    Way.UNDO_PROVISIONING,
    Way.DECOMMISSIONING,
    Way.APPLICATION_DECOMMISSIONING,
}
"""Nothing is left for another request."""
_NEEDS_ENVIRONMENT = set(Way) - _NEEDS_APPLICATION - {Way.ONBOARDING}
_NEEDS_SECRET = {Way.ROTATION, Way.EMERGENCY, Way.REVOCATION}
_FITS: dict[Way, Callable[[Any], bool]] = {
    Way.UNDO_PROVISIONING: lambda each: not each.is_touched,
    **dict.fromkeys(_NEEDS_SECRET, lambda each: "db" not in each.revoked),
}
