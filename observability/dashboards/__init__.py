"""The Grafana dashboards."""

from __future__ import annotations

from observability.dashboards.model import Dashboard
from observability.dashboards.overview import OVERVIEW
from observability.dashboards.workflows import WORKFLOWS_DETAIL

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, WORKFLOWS_DETAIL)
