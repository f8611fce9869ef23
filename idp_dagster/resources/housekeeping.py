"""The resource `housekeeping`: how long Dagster's storage keeps what has ended."""

from __future__ import annotations

from datetime import timedelta

from dagster import ConfigurableResource

from idp_dagster.ports import Retention


class HousekeepingResource(ConfigurableResource[None]):
    """In days, as the settings say."""

    keep_runs_days: int
    keep_frequent_runs_days: int

    @property
    def retention(self) -> Retention:
        return Retention(
            runs=timedelta(days=self.keep_runs_days),
            frequent=timedelta(days=self.keep_frequent_runs_days),
        )
