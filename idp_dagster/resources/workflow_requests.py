"""The resource `workflow_requests`: the control plane as sensors see it."""

from __future__ import annotations

from pathlib import Path

from dagster import ConfigurableResource

from idp_dagster.clients import control_plane_client
from idp_kernel.http.client import ServiceClient
from idp_kernel.wire.engine import (
    LOST_RUNS,
    OFFERS,
    RUN_REPORTS,
    AskOffers,
    LostRun,
    LostRuns,
    Offers,
    RunReport,
    RunReported,
)

WAIT_SECONDS = 5.0
"""For work. Whoever asked before a daemon was killed takes it in vain for no longer."""
LONG_WAIT_SECONDS = 20.0
"""For what is acted on in the tick itself, whether a daemon hears of it or not."""
ANSWER_SECONDS = 10.0
"""Beyond the wait; together well below the 60 s Dagster gives a sensor."""


class WorkflowRequestsResource(ConfigurableResource[None]):
    """Offers, lost runs and reports, with the service's own token."""

    control_plane_url: str
    service_key_file: str

    def offers(self) -> Offers:
        return self._api.call(
            "POST",
            OFFERS,
            Offers,
            body=AskOffers(wait_seconds=WAIT_SECONDS),
            timeout_seconds=WAIT_SECONDS + ANSWER_SECONDS,
        )

    def lost_runs(self) -> tuple[LostRun, ...]:
        return self._api.call(
            "GET",
            LOST_RUNS,
            LostRuns,
            query={"waitSeconds": str(LONG_WAIT_SECONDS)},
            timeout_seconds=LONG_WAIT_SECONDS + ANSWER_SECONDS,
        ).runs

    def report(self, report: RunReport) -> None:
        self._api.call("POST", RUN_REPORTS, RunReported, body=report)

    @property
    def _api(self) -> ServiceClient:
        return control_plane_client(self.control_plane_url, Path(self.service_key_file))
