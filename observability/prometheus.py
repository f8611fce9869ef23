"""The configuration of Prometheus and Alertmanager, as the documents that they read."""

from __future__ import annotations

from typing import Any

from idp_kernel.services import LOOPBACK
from idp_kernel.telemetry.metrics_reference import PORTS
from observability.alerts import SECRET_ALERTS, SERVICE_ALERTS, WORKFLOW_ALERTS, Alert, Severity
from observability.limits import MINUTE_SECONDS
from observability.objectives import recordings
from observability.ports import ObserverPorts

SCRAPE_SECONDS = 15
SCRAPE_TIMEOUT_SECONDS = 10
GROUP_WAIT_SECONDS = 30
"""How long Alertmanager waits for more of a kind before it tells of the first."""
NEWS_AFTER_WAITS = 10
"""So many of those waits pass before it tells what changed among those of a kind."""
RULES_FILE = "rules.yaml"
RECEIVER = "operators"
Document = dict[str, Any]


def rules(*, longest_hold_seconds: int | None = None) -> Document:
    """Recordings and alerts. A group is evaluated in order, and alerts use what is recorded.

    No alert has to last for longer than `longest_hold_seconds` before it fires, if that is given.
    """

    def rule(alert: Alert) -> Document:
        return _rule(alert, longest_hold_seconds)

    return {
        "groups": [
            {
                "name": "workflows",
                "rules": [
                    *({"record": each.name, "expr": each.expression} for each in recordings()),
                    *map(rule, WORKFLOW_ALERTS),
                ],
            },
            {"name": "services", "rules": [*map(rule, SERVICE_ALERTS)]},
            {"name": "secrets", "rules": [*map(rule, SECRET_ALERTS)]},
        ]
    }


def _rule(alert: Alert, longest_hold_seconds: int | None) -> Document:
    seconds = alert.hold_minutes * MINUTE_SECONDS
    is_shortened = longest_hold_seconds is not None and seconds > longest_hold_seconds
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": f"{longest_hold_seconds}s" if is_shortened else f"{alert.hold_minutes}m",
        "labels": {"severity": alert.severity.value},
        "annotations": {
            "summary": alert.summary,
            "runbook": alert.runbook,
            "runbook_url": f"{{{{ $externalURL }}}}/user/{alert.page}",
        },
    }


def prometheus(
    ports: ObserverPorts, port_offset: int = 0, *, scrape_seconds: int = SCRAPE_SECONDS
) -> Document:
    """Scrapes every process of one machine, each as a job of its name."""
    return {
        "global": {
            "scrape_interval": f"{scrape_seconds}s",
            "scrape_timeout": f"{min(scrape_seconds, SCRAPE_TIMEOUT_SECONDS)}s",
            "evaluation_interval": f"{scrape_seconds}s",
        },
        "rule_files": [RULES_FILE],
        "alerting": {
            "alertmanagers": [{"static_configs": [_target(ports.alertmanager)]}],
        },
        "scrape_configs": [
            {
                "job_name": service.value,
                "static_configs": [_target(port + port_offset)],
            }
            for service, port in PORTS.items()
        ],
    }


def _target(port: int) -> Document:
    return {"targets": [f"{LOOPBACK}:{port}"]}


def alertmanager(
    webhook_url: str | None, *, group_wait_seconds: int = GROUP_WAIT_SECONDS
) -> Document:
    """One receiver: the webhook, or without one nobody but who looks at Alertmanager's page.

    Pages are repeated after an hour, tickets after a day. While a service is down, what follows
    from it is told to nobody.
    """
    webhooks = [] if webhook_url is None else [{"url": webhook_url, "send_resolved": True}]
    return {
        "route": {
            "receiver": RECEIVER,
            "group_by": ["alertname"],
            "group_wait": f"{group_wait_seconds}s",
            "group_interval": f"{group_wait_seconds * NEWS_AFTER_WAITS}s",
            "repeat_interval": "1d",
            "routes": [
                {
                    "receiver": RECEIVER,
                    "matchers": [f'severity="{Severity.PAGE}"'],
                    "repeat_interval": "1h",
                }
            ],
        },
        "inhibit_rules": [
            {
                "source_matchers": ['alertname="ServiceDown"', 'job="control-plane-api"'],
                "target_matchers": ['alertname=~"ProjectionDown|TicksFail"'],
            }
        ],
        "receivers": [{"name": RECEIVER, "webhook_configs": webhooks}],
    }
