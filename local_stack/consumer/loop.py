"""The consumer's own loop: what the agent has applied is taken from the store and used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

import structlog

from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.wire.agent import Reconciliations
from idp_kernel.wire.consumer import Consumption
from local_stack.consumer.bindings import Binding, BindingKey, database_bindings
from local_stack.consumer.store import DatabaseLogin
from local_stack.consumer.usage import LoginUsage

TRY_AGAIN_SECONDS = 5.0
"""After the store said no to a version; a store that is away is asked at the next look."""

_log = structlog.get_logger(__name__)

NewUsage = Callable[[BindingKey], LoginUsage]


class ListReconciliations(Protocol):
    """Patiently: when there is something new, or some time has passed without."""

    def __call__(self, *, patiently: bool) -> Reconciliations: ...


class LoginSource(Protocol):
    """Where logins come from (`local_stack.consumer.store.SecretStore`)."""

    def database_login(self, path: str, version: int) -> DatabaseLogin: ...


@dataclass
class _Consumer:
    """A binding's usage and how far taking what it pins has come."""

    usage: LoginUsage
    taken: Binding | None = None
    refused: Binding | None = None
    """The binding the store said no to."""
    not_before: float = 0.0
    problem: str | None = None


class ConsumptionLoop:
    """Runs in a thread of its own until it is stopped."""

    def __init__(
        self,
        *,
        list_reconciliations: ListReconciliations,
        logins: LoginSource,
        new_usage: NewUsage,
        interval_seconds: float,
        most_bindings: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._list_reconciliations = list_reconciliations
        self._logins = logins
        self._new_usage = new_usage
        self._interval_seconds = interval_seconds
        self._most_bindings = most_bindings
        self._monotonic = monotonic
        self._consumers: dict[BindingKey, _Consumer] = {}
        self._left: dict[BindingKey, LoginUsage] = {}
        """Stopped, the last one last: what they counted goes on when their binding comes back."""
        self._agent_problem: str | None = None
        self._left_alone = 0
        self._has_taken_all = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="consumption-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more and wait for the logins that are under way."""
        self._stopped.set()
        self._thread.join()
        for consumer in self._consumers.values():
            consumer.usage.stop()
        for usage in (*(each.usage for each in self._consumers.values()), *self._left.values()):
            usage.join()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def consumption(self) -> Consumption:
        """Every binding that is consumed, and how that goes."""
        consumers = sorted(self._consumers.copy().items())
        return Consumption(
            items=tuple(
                each.usage.consumed(each.problem or self._agent_problem) for _, each in consumers
            )
        )

    def look(self) -> None:
        """One round; whoever is away is told in the consumption, not raised."""
        patiently, self._has_taken_all = self._has_taken_all, False
        try:
            listed = self._list_reconciliations(patiently=patiently)
        except PlatformError as error:
            self._note_agent_away(error)
            return
        self._note_agent_here()
        bindings = self._within_limit(database_bindings(listed))
        for key in self._consumers.keys() - bindings.keys():
            self._leave(key)
        for key in bindings.keys() - self._consumers.keys():
            self._begin(key)
        for key, binding in bindings.items():
            consumer = self._consumers.get(key)
            if consumer is not None and not self._take(binding, consumer):
                break
        taken = {key: consumer.taken for key, consumer in self._consumers.items()}
        self._has_taken_all = taken == bindings

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a bug in one round must not end the loop
                _log.exception("consumption_round_failed")
            self._stopped.wait(self._interval_seconds)

    def _within_limit(self, bindings: dict[BindingKey, Binding]) -> dict[BindingKey, Binding]:
        left_alone = max(0, len(bindings) - self._most_bindings)
        if left_alone != self._left_alone:
            _log.warning("bindings_left_alone", bindings=left_alone, limit=self._most_bindings)
        self._left_alone = left_alone
        return dict(list(bindings.items())[: self._most_bindings])

    def _begin(self, key: BindingKey) -> None:
        former = self._left.get(key)
        if former is not None and former.is_alive():
            return  # Its last login is under way; a later look finds it ended.
        consumer = _Consumer(self._new_usage(key))
        if former is not None:
            consumer.usage.go_on_from(self._left.pop(key))
        consumer.usage.start()
        self._consumers[key] = consumer

    def _leave(self, key: BindingKey) -> None:
        usage = self._consumers.pop(key).usage
        usage.stop()
        self._left[key] = usage
        for forgotten in list(self._left)[: -self._most_bindings]:
            del self._left[forgotten]

    def _take(self, binding: Binding, consumer: _Consumer) -> bool:
        """Gives the usage what the binding pins; False when the store is away."""
        if consumer.taken == binding:
            consumer.problem = None
            return True
        if consumer.refused == binding and self._monotonic() < consumer.not_before:
            return True
        try:
            login = self._logins.database_login(binding.store_path, binding.version)
        except PlatformError as error:
            self._note_not_taken(consumer, binding, error)
            return not isinstance(error, Unavailable)
        consumer.usage.move_to(binding.version, login)
        consumer.taken, consumer.refused, consumer.problem = binding, None, None
        return True

    def _note_not_taken(self, consumer: _Consumer, binding: Binding, error: PlatformError) -> None:
        if not isinstance(error, Unavailable):
            consumer.refused = binding
            consumer.not_before = self._monotonic() + TRY_AGAIN_SECONDS
        if consumer.problem != error.message:
            told = asdict(binding.key)
            _log.warning("version_not_taken", code=error.code, detail=error.message, **told)
        consumer.problem = error.message

    def _note_agent_away(self, error: PlatformError) -> None:
        if self._agent_problem is None:
            _log.warning("agent_away", code=error.code, detail=error.message)
        self._agent_problem = f"The agent cannot be asked what is applied: {error.message}"

    def _note_agent_here(self) -> None:
        if self._agent_problem is not None:
            _log.info("agent_back")
        self._agent_problem = None
