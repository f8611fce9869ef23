"""Writes the dashboards and the configuration that are made from the code: `make docs`.

With `--check` it writes nothing and ends with status 1 when a file differs from what it would be.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

from observability.dashboards import DASHBOARDS
from observability.ports import DEFAULT_OBSERVER_PORTS
from observability.prometheus import Document, alertmanager, prometheus, rules

FOLDER = Path(__file__).parent
_HEAD = "# Made from the code of observability/: make docs\n"


def files() -> dict[str, str]:
    """Every file that is made, below `observability/`, and its text."""
    return {
        "prometheus/prometheus.yaml": as_yaml(prometheus(DEFAULT_OBSERVER_PORTS)),
        "prometheus/rules.yaml": as_yaml(rules()),
        "alertmanager/alertmanager.yaml": as_yaml(alertmanager(None)),
        **{
            f"grafana/dashboards/{each.uid}.json": f"{json.dumps(each.json(), indent=2)}\n"
            for each in DASHBOARDS
        },
    }


def as_yaml(document: Document) -> str:
    """As Prometheus and Alertmanager read it."""
    return _HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def main() -> None:
    """Write every file, or compare them."""
    stale = [name for name, text in files().items() if _differs(FOLDER / name, text)]
    if "--check" in sys.argv[1:]:
        for name in stale:
            sys.stdout.write(f"observability/{name} is not what the code says: make docs\n")
        sys.exit(1 if stale else 0)
    for name in stale:
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(files()[name], encoding="utf-8")
        sys.stdout.write(f"observability/{name}\n")


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text(encoding="utf-8") != text


if __name__ == "__main__":
    main()
