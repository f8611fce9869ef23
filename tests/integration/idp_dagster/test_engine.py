"""A request through the whole engine, on its own processes and a real PostgreSQL."""

from __future__ import annotations

from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING, RequestState
from tests.integration.idp_dagster.conftest import Engine


def test_an_offered_request_is_carried_out(engine: Engine) -> None:
    request = engine.stand_in.add_request()
    engine.stand_in.wait_for(lambda: request.state is RequestState.SUCCEEDED)
    assert set(request.results) == set(APPLICATION_ENVIRONMENT_PROVISIONING.steps)
    print(request.moments)
    for _ in range(6):
        request = engine.stand_in.add_request()
        engine.stand_in.wait_for(lambda: request.state is RequestState.SUCCEEDED)
        print(request.moments)
