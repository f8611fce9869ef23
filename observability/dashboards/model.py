"""A dashboard as it is thought of, and as Grafana reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

PROMETHEUS_UID, TEMPO_UID = "idp-prometheus", "idp-tempo"
"""Of the data sources that are provisioned."""
RATE_WINDOW, WHOLE_RANGE = "$__rate_interval", "$__range"
"""What Grafana puts in: four scrapes and more, and all that is shown."""
GRID_WIDTH = 24
EACH_POINT = "Within the minute before each point, longer where the graph is coarser."
SCHEMA_VERSION = 39
TAG = "idp"

Json = dict[str, Any]


class Kind(StrEnum):
    """How a panel shows its numbers, by Grafana's name."""

    LINES = "timeseries"
    NUMBER = "stat"
    TABLE = "table"


@dataclass(frozen=True)
class Query:
    """A PromQL expression and how each of its series is called."""

    expression: str
    legend: str
    has_examples: bool = False
    """Whether its buckets carry trace ids, which are shown as points that lead to the trace."""


PROMISE = "promise"
"""What turns a panel red that shows how a promise is kept."""


@dataclass(frozen=True)
class Red:
    """From which value on something is to be done."""

    limit: float
    by: str
    """The name of the alert that fires there, or `PROMISE`."""
    is_below: bool = False
    """Whether values below the limit are red, not those from it on."""

    def thresholds(self) -> Json:
        colours = ("red", "green") if self.is_below else ("green", "red")
        steps = [
            {"color": colours[0], "value": None},
            {"color": colours[1], "value": self.limit},
        ]
        return {"mode": "absolute", "steps": steps}


NEVER_RED: Json = {"mode": "absolute", "steps": [{"color": "green", "value": None}]}


def _description(meaning: str, advice: str, *, has_red: bool) -> str:
    return f"{meaning}\n\n**{'When it is red' if has_red else 'From here'}:** {advice}"


@dataclass(frozen=True)
class Panel:
    """A panel of metrics."""

    title: str
    meaning: str
    advice: str
    """What to do when it is red; without red, where to look further."""
    queries: tuple[Query, ...]
    unit: str
    """By Grafana's name of it."""
    red: Red | None = None
    kind: Kind = Kind.LINES
    width: int = 8
    height: int = 7

    def json(self) -> Json:
        is_number = self.kind is Kind.NUMBER
        shown = {"thresholdsStyle": {"mode": "line"}} if self.red and not is_number else {}
        return {
            "type": self.kind.value,
            "title": self.title,
            "description": _description(self.meaning, self.advice, has_red=self.red is not None),
            "datasource": {"type": "prometheus", "uid": PROMETHEUS_UID},
            "targets": [
                {
                    "refId": chr(ord("A") + number),
                    "datasource": {"type": "prometheus", "uid": PROMETHEUS_UID},
                    "expr": query.expression,
                    "legendFormat": query.legend,
                    "exemplar": query.has_examples,
                    "instant": is_number,
                    "range": not is_number,
                }
                for number, query in enumerate(self.queries)
            ],
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "thresholds": self.red.thresholds() if self.red else NEVER_RED,
                    "custom": shown,
                },
                "overrides": [],
            },
        }


@dataclass(frozen=True)
class Traces:
    """A table of traces that Tempo finds, each a link."""

    title: str
    meaning: str
    advice: str
    query: str
    """In TraceQL."""
    width: int = GRID_WIDTH
    height: int = 8

    def json(self) -> Json:
        source = {"type": "tempo", "uid": TEMPO_UID}
        return {
            "type": "table",
            "title": self.title,
            "description": _description(self.meaning, self.advice, has_red=False),
            "datasource": source,
            "targets": [
                {
                    "refId": "A",
                    "datasource": source,
                    "queryType": "traceql",
                    "query": self.query,
                    "filters": [],
                    "tableType": "traces",
                    "limit": 20,
                }
            ],
        }


@dataclass(frozen=True)
class Row:
    """Panels below a heading, from left to right and on."""

    title: str
    panels: tuple[Panel | Traces, ...]


@dataclass(frozen=True)
class Dashboard:
    """A page."""

    uid: str
    title: str
    meaning: str
    rows: tuple[Row, ...]

    def expressions(self) -> list[str]:
        """Every PromQL expression on it."""
        return [
            query.expression
            for row in self.rows
            for panel in row.panels
            if isinstance(panel, Panel)
            for query in panel.queries
        ]

    def json(self) -> Json:
        """As Grafana reads it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.meaning,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "utc",
            "templating": {"list": []},
            "annotations": {"list": []},
            "links": [
                _link("dashboards", "IDP", "dashboard", tags=[TAG]),
                _link("link", "Traces", "external link", url=_explore_traces()),
            ],
            "panels": [
                {"id": number, **panel} for number, panel in enumerate(_placed(self.rows), 1)
            ],
        }


def _link(kind: str, title: str, icon: str, *, tags: Sequence[str] = (), url: str = "") -> Json:
    """To other dashboards with these tags, or to a page; Grafana wants every field of it."""
    return {
        "type": kind,
        "title": title,
        "icon": icon,
        "tooltip": "",
        "url": url,
        "tags": list(tags),
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": False,
        "keepTime": True,
    }


def _explore_traces() -> str:
    pane = {
        "datasource": TEMPO_UID,
        "queries": [
            {
                "refId": "A",
                "datasource": {"type": "tempo", "uid": TEMPO_UID},
                "queryType": "traceql",
                "query": '{ resource.service.name = "control-plane-api" }',
                "filters": [],
            }
        ],
        "range": {"from": "now-1h", "to": "now"},
    }
    panes = json.dumps({"idp": pane}, separators=(",", ":"))
    return f"/explore?schemaVersion=1&orgId=1&panes={quote(panes)}"


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": GRID_WIDTH, "h": 1}
        yield {
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": place,
        }
        left, line, top = 0, top + 1, top + 1
        for panel in row.panels:
            if left + panel.width > GRID_WIDTH:
                left, line = 0, top
            place = {"x": left, "y": line, "w": panel.width, "h": panel.height}
            yield {**panel.json(), "gridPos": place}
            left, top = left + panel.width, max(top, line + panel.height)
