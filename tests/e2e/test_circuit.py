"""A secret store that serves nobody is left alone; others go on, and what waited does so later."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from idp_kernel.downstream import OPENBAO, CircuitState
from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.workflows import WaitingReason
from tests.e2e.faults import sealed_store
from tests.e2e.platform import Platform, Subject, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.endurance, pytest.mark.timeout(600)]

THRESHOLD = 5
"""The default of `IDP_EXECUTION_WORKERS_PROVIDER_CIRCUIT_FAILURES`."""
MOST_PROBES = 3
"""In the time that the test takes: after 15, 45 and 105 s."""


def test_requests_wait_while_the_store_is_sealed_and_go_on_by_themselves(
    platform: Platform, subject: Subject
) -> None:
    second = platform.with_new_environment(platform.new_subject())
    before = errors(platform, "openbao_sealed")
    with sealed_store(platform):
        waiting = [platform.provision(each)["requestId"] for each in (subject, second)]
        for request_id in waiting:
            eventually(
                partial(is_waiting, platform, request_id),
                within_seconds=90,
                what="the request waits for the store",
            )
        assert circuit(platform) in (CircuitState.OPEN, CircuitState.HALF_OPEN)
        assert platform.new_subject().application_id, "the forge serves others meanwhile"
        assert errors(platform, "circuit_open") > 0
        in_flight = len(waiting) - 1
        asked = errors(platform, "openbao_sealed") - before
        assert asked <= THRESHOLD + in_flight + MOST_PROBES
    ended = [platform.ended(request_id, within_seconds=180) for request_id in waiting]
    assert [each["state"] for each in ended] == ["succeeded", "succeeded"]
    assert circuit(platform) is CircuitState.CLOSED


def is_waiting(platform: Platform, request_id: str) -> bool:
    request: dict[str, Any] = platform.request(request_id)
    assert request["state"] not in ("succeeded", "failed"), request
    return bool(request["waitingReason"] == WaitingReason.CIRCUIT_OPEN)


def errors(platform: Platform, code: str) -> float:
    """How often the workers met it at the store."""
    labels = {"target": OPENBAO, "code": code}
    return sum(
        float(sample.value)
        for sample in samples(platform, "downstream_errors_total")
        if labels.items() <= sample.labels.items()
    )


def circuit(platform: Platform) -> CircuitState:
    (state,) = [
        sample.labels["circuit"]
        for sample in samples(platform, "execution_workers_provider_circuit")
        if sample.labels["target"] == OPENBAO and sample.value == 1
    ]
    return CircuitState(state)


def samples(platform: Platform, name: str) -> list[Any]:
    text = platform.client.get(platform.url(DEFAULT_PORTS.execution_workers, "/metrics")).text
    return [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]
