"""`python -m idp_dagster.bootstrap`: Dagster's home and tables, and the broker's queue.

Repeatable: makes what is missing and migrates what is old, before any other process starts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from celery import Celery
from dagster import DagsterInstance

from idp_dagster.settings import ROOT, EngineSettings
from idp_dagster.storage import PooledPostgresStorage
from idp_dagster.worker import worker_app
from idp_kernel.settings import read_settings

INSTANCE_FILE = "dagster.yaml"


def main() -> None:
    """Prepares what `DAGSTER_HOME` and the settings name."""
    settings = read_settings(EngineSettings)
    settings.export()
    prepare_home(settings.dagster_home)
    prepare_storage(settings.dagster_database_url)
    prepare_queue(worker_app(settings))
    sys.stdout.write("The workflow engine's home, tables and queue are in place\n")


def prepare_home(home: Path) -> None:
    """Puts this version's `dagster.yaml` there; it holds names of variables, no values."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = home / f".{INSTANCE_FILE}.{os.getpid()}"
    temporary.write_bytes((ROOT / "deploy" / INSTANCE_FILE).read_bytes())
    temporary.replace(home / INSTANCE_FILE)


def prepare_storage(database_url: str) -> None:
    """Makes Dagster's tables when there are none, and brings old ones up to this version."""
    PooledPostgresStorage(database_url, should_autocreate_tables=True)
    with DagsterInstance.get() as instance:
        instance.upgrade()


def prepare_queue(app: Celery) -> None:
    """Declares the queue; on PostgreSQL that makes kombu's tables."""
    with app.connection_for_write() as connection:
        for queue in app.conf.task_queues:
            queue(connection.default_channel).declare()


if __name__ == "__main__":
    main()
