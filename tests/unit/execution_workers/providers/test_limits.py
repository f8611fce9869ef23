"""When a provider is left alone, and when it is called again. No test waits for a clock."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import CollectorRegistry

from execution_workers.providers.calls import ProviderCalls, Verdict
from execution_workers.providers.limits import PROBE_SECONDS, LimitMetrics, Limits, refusal
from idp_kernel.downstream import CircuitState, Refusal
from idp_kernel.errors import InvariantBroken, PlatformError, ProviderRejected, Unavailable
from idp_kernel.telemetry.metrics import downstream_errors

LIMITS = Limits(
    calls_per_second=10,
    burst=1000,
    circuit_failures=3,
    circuit_cool_down_seconds=10,
    circuit_longest_cool_down_seconds=35,
    longest_pause_seconds=600,
)
AWAY = Verdict(Unavailable, "openbao_failed", "Look.").of("openbao", "read", "x", status="500")
SILENT = Verdict(Unavailable, "openbao_timeout", "Look.").of("openbao", "read", "x")
LIMITED = Unavailable("slower", code="openbao_rate_limited", details={"targetStatus": "429"})
CONTENDED = Verdict(Unavailable, "openbao_contended", "Wait.", contended=True).of(
    "openbao", "write", "x", retry_after_seconds=60
)
GONE = Unavailable("conflict", code="x", details={"targetStatus": "409"})
REFUSED = ProviderRejected("no", code="openbao_denied", details={"targetStatus": "403"})


@dataclass
class Provider:
    """Calls to a provider whose answers the test chooses, on a clock that the test moves."""

    limits: Limits = LIMITS
    wait_seconds: float = 2
    now: float = 1000.0
    slept: list[float] = field(default_factory=list)
    called: int = 0
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.calls = ProviderCalls(
            "openbao",
            concurrency=4,
            wait_seconds=self.wait_seconds,
            errors=downstream_errors(self.registry),
            limits=self.limits,
            metrics=LimitMetrics(self.registry),
            monotonic=lambda: self.now,
            sleep=self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def call(self, error: BaseException | None = None) -> PlatformError | None:
        """What a call ends with whose answer is this error, or none."""
        try:
            with self.calls.calling("read"):
                self.called += 1
                if error is not None:
                    raise error
        except PlatformError as ended:
            return ended
        return None

    def reaches(self, error: BaseException | None = None) -> bool:
        """Whether such a call gets to the provider."""
        before = self.called
        self.call(error)
        return self.called > before

    def refusal(self) -> tuple[str, float | None]:
        """Code and time of a call that does not get there."""
        before = self.called
        error = self.call()
        assert self.called == before, "the provider was called"
        assert isinstance(error, Unavailable)
        assert error.message.startswith("openbao was not asked to read: ")
        return error.code, error.retry_after_seconds

    def circuit(self) -> str:
        values = {
            state: self.registry.get_sample_value(
                "execution_workers_provider_circuit", {"target": "openbao", "circuit": state}
            )
            for state in CircuitState
        }
        (standing,) = [state for state, value in values.items() if value == 1]
        return standing

    def refusals(self, reason: Refusal) -> float | None:
        return self.registry.get_sample_value(
            "execution_workers_provider_refusals_total",
            {"target": "openbao", "refusal": reason},
        )


@pytest.fixture
def provider() -> Provider:
    return Provider()


def opened(provider: Provider) -> None:
    for _ in range(LIMITS.circuit_failures):
        assert provider.reaches(AWAY)


def test_calls_beyond_the_burst_wait_their_turn() -> None:
    provider = Provider(replace(LIMITS, burst=2))
    for _ in range(4):
        assert provider.reaches()
    assert provider.slept == pytest.approx([0.1, 0.1])
    provider.now += 0.25
    assert provider.reaches()
    assert len(provider.slept) == 2


def test_who_would_wait_too_long_for_a_turn_is_told_when_it_comes() -> None:
    provider = Provider(replace(LIMITS, burst=1, calls_per_second=0.1))
    assert provider.reaches()
    code, seconds = provider.refusal()
    assert code == "provider_rate_limited"
    assert seconds == pytest.approx(10)
    assert provider.refusals(Refusal.RATE_LIMITED) == 1
    provider.now += 9
    assert provider.reaches()
    assert provider.slept == pytest.approx([1])


def test_turns_are_given_in_a_row_to_who_comes_at_once() -> None:
    provider = Provider(replace(LIMITS, burst=1))
    pace = provider.calls._pace
    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(lambda _: pace.turn(within_seconds=60), range(40)))
    assert sorted(seconds for _, seconds in turns) == pytest.approx([n / 10 for n in range(40)])


def test_a_provider_that_asks_for_a_pause_is_not_called_before_it_is_over(
    provider: Provider,
) -> None:
    provider.call(Unavailable("slower", code="openbao_rate_limited", retry_after_seconds=30))
    assert provider.refusal() == ("provider_paused", 30)
    provider.now += 29
    assert provider.refusal() == ("provider_paused", 1)
    provider.now += 1
    assert provider.reaches()
    assert provider.refusals(Refusal.PAUSED) == 2


def test_a_shorter_pause_does_not_end_a_longer_one(provider: Provider) -> None:
    started = threading.Event()
    finish = threading.Event()

    def slow() -> None:
        with suppress(Unavailable), provider.calls.calling("read"):
            started.set()
            finish.wait(10)
            raise Unavailable("slower", retry_after_seconds=5)

    thread = threading.Thread(target=slow)
    thread.start()
    assert started.wait(10)
    provider.call(Unavailable("slower", retry_after_seconds=30))
    finish.set()
    thread.join(10)
    assert provider.refusal() == ("provider_paused", 30)


def test_no_pause_is_longer_than_is_set(provider: Provider) -> None:
    told = provider.call(Unavailable("slower", retry_after_seconds=10**9))
    assert isinstance(told, Unavailable)
    assert told.retry_after_seconds == 600, "whoever called comes again when the calls do"
    assert provider.refusal() == ("provider_paused", 600)


@pytest.mark.parametrize("error", [AWAY, SILENT, LIMITED], ids=["500", "no answer", "429"])
def test_the_circuit_opens_after_that_many_failures_in_a_row(
    provider: Provider, error: PlatformError
) -> None:
    for _ in range(3):
        assert provider.circuit() == "closed"
        assert provider.reaches(error)
    assert provider.circuit() == "open"
    assert provider.refusal() == ("circuit_open", 10)
    assert provider.refusals(Refusal.CIRCUIT_OPEN) == 1


@pytest.mark.parametrize(
    "answer",
    [None, REFUSED, CONTENDED, GONE, InvariantBroken("?")],
    ids=["success", "refusal", "contended", "409", "misused"],
)
def test_an_answer_is_no_failure_and_ends_the_row(
    provider: Provider, answer: PlatformError | None
) -> None:
    for _ in range(5):
        assert provider.reaches(AWAY)
        assert provider.reaches(AWAY)
        assert provider.reaches(answer)
    assert provider.circuit() == "closed"


def test_a_pause_is_an_answer(provider: Provider) -> None:
    for _ in range(5):
        assert provider.reaches(Unavailable("slower", retry_after_seconds=1))
        provider.now += 1
    assert provider.circuit() == "closed"


def test_one_call_tries_and_closes_the_circuit(provider: Provider) -> None:
    opened(provider)
    provider.now += 10
    with provider.calls.calling("read"):
        assert provider.circuit() == "half_open"
        assert provider.refusal() == ("circuit_open", PROBE_SECONDS)
    assert provider.circuit() == "closed"
    for _ in range(2):
        assert provider.reaches(AWAY)
    assert provider.circuit() == "closed", "the row begins anew"


def test_of_many_at_once_one_tries(provider: Provider) -> None:
    opened(provider)
    provider.now += 10
    everybody = threading.Barrier(8)
    refused = threading.Semaphore(0)
    reached: list[int] = []
    codes: list[str] = []

    def call(number: int) -> None:
        everybody.wait(10)
        try:
            with provider.calls.calling("read"):
                reached.append(number)
                for _ in range(7):
                    assert refused.acquire(timeout=10)
        except Unavailable as error:
            codes.append(error.code)
            refused.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    assert len(reached) == 1
    assert codes == ["circuit_open"] * 7
    assert provider.circuit() == "closed"


def test_a_probe_that_fails_doubles_the_time_up_to_the_longest(provider: Provider) -> None:
    opened(provider)
    for seconds in (20, 35, 35):
        provider.now += float(provider.refusal()[1] or 0)
        assert provider.reaches(SILENT)
        assert provider.refusal() == ("circuit_open", seconds)
    provider.now += 35
    assert provider.reaches()
    opened(provider)
    assert provider.refusal() == ("circuit_open", 10)


def test_a_probe_that_is_refused_by_the_provider_closes_the_circuit(provider: Provider) -> None:
    opened(provider)
    provider.now += 10
    assert provider.reaches(REFUSED)
    assert provider.circuit() == "closed"


def test_a_probe_that_is_asked_to_pause_closes_the_circuit_and_pauses(provider: Provider) -> None:
    opened(provider)
    provider.now += 10
    assert provider.reaches(Unavailable("slower", retry_after_seconds=7))
    assert provider.circuit() == "closed"
    assert provider.refusal() == ("provider_paused", 7)


def test_after_a_probe_that_says_nothing_the_next_one_tries(provider: Provider) -> None:
    opened(provider)
    provider.now += 10
    with pytest.raises(KeyboardInterrupt):
        provider.call(KeyboardInterrupt())
    assert provider.circuit() == "half_open"
    assert provider.reaches(AWAY)
    assert provider.refusal() == ("circuit_open", 20)


def test_a_call_that_began_before_does_not_close_an_open_circuit(provider: Provider) -> None:
    with provider.calls.calling("read"):
        opened(provider)
    assert provider.circuit() == "open"


def test_what_was_not_called_is_counted_as_an_error_with_its_own_code(provider: Provider) -> None:
    opened(provider)
    provider.refusal()
    labels = {"target": "openbao", "code": "circuit_open", "status": "none"}
    assert provider.registry.get_sample_value("downstream_errors_total", labels) == 1


def test_a_full_provider_is_told_as_busy() -> None:
    provider = Provider(wait_seconds=0.01)
    slots = [provider.calls.calling("read") for _ in range(4)]
    for each in slots:
        each.__enter__()
    assert provider.refusal() == ("provider_busy", 1)
    assert provider.refusals(Refusal.BUSY) == 1
    for each in slots:
        each.__exit__(None, None, None)
    assert provider.reaches()


@pytest.mark.parametrize("reason", Refusal)
def test_every_refusal_names_the_provider_and_says_when_to_come_again(reason: Refusal) -> None:
    error = refusal("openbao", "read", reason, 7)
    assert "openbao" in error.message
    assert (error.code, error.retry_after_seconds) == (reason, 7)
    assert error.details == {"target": "openbao", "targetStatus": "none"}
