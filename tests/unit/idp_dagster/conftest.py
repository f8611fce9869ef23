"""The environment that the composition root reads when it is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from idp_dagster.settings import EngineSettings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EngineSettings:
    """An engine's settings; nothing behind them is there."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for name, value in {
        "CONTROL_PLANE_URL": "http://127.0.0.1:1",
        "WORKERS_URL": "http://127.0.0.1:2",
        "SERVICE_KEY_FILE": str(tmp_path / "workflow-engine.key.json"),
        "DAGSTER_DATABASE_URL": "postgresql+psycopg2://dagster@127.0.0.1:1/dagster",
        "BROKER_URL": "sqla+postgresql+psycopg://dagster@127.0.0.1:1/dagster",
        "WORKER_SLOTS": "3",
        "CODE_SERVER_HOST": "127.0.0.1",
        "CODE_SERVER_PORT": "1",
    }.items():
        monkeypatch.setenv(f"IDP_ENGINE_{name}", value)
    return EngineSettings()
