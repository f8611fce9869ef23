"""The description of the API without a server: `python -m control_plane.openapi` prints it."""

from __future__ import annotations

import json
import sys
from typing import Any

from prometheus_client import CollectorRegistry

from control_plane.api.app import create_app


def openapi_document() -> dict[str, Any]:
    """What a running control plane answers at `/openapi.json`."""
    app = create_app(None, env="", registry=CollectorRegistry(), is_ready=lambda: None)
    return app.openapi()


def main() -> None:
    json.dump(openapi_document(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
