"""Calls to a provider: bounded, counted when they fail."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from execution_workers.providers.calls import ProviderCalls
from idp_kernel.errors import ProviderRejected, Unavailable
from idp_kernel.telemetry.metrics import downstream_errors


def calls(registry: CollectorRegistry, concurrency: int = 1) -> ProviderCalls:
    return ProviderCalls(
        "openbao",
        concurrency=concurrency,
        wait_seconds=0.01,
        errors=downstream_errors(registry),
    )


def count(registry: CollectorRegistry, code: str, status: str) -> float | None:
    labels = {"target": "openbao", "code": code, "status": status}
    return registry.get_sample_value("downstream_errors_total", labels)


def test_a_failed_call_is_counted_and_raised() -> None:
    registry = CollectorRegistry()
    error = ProviderRejected("no", code="openbao_denied", details={"targetStatus": "403"})
    with pytest.raises(ProviderRejected), calls(registry).calling("read secret"):
        raise error
    assert count(registry, "openbao_denied", "403") == 1


def test_too_many_calls_wait_and_then_give_up() -> None:
    registry = CollectorRegistry()
    provider = calls(registry)
    with provider.calling("read secret"):
        with pytest.raises(Unavailable) as busy, provider.calling("read secret"):
            raise AssertionError
        assert busy.value.code == "provider_busy"
    with provider.calling("read secret"):
        pass
    assert count(registry, "provider_busy", "none") == 1
