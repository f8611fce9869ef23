"""Dagster's PostgreSQL storage with connections that are kept.

As shipped it opens a connection for each statement, which costs PostgreSQL several times what the
statements do. Dagster makes a new instance for each run and each sensor tick, so the pool belongs
to the process, not to the instance.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import Engine, create_engine

POOL_SIZE = 4
POOL_OVERFLOW = 20
POOL_RECYCLE_SECONDS = 1800


class PooledPostgresStorage(DagsterPostgresStorage):
    """`DagsterPostgresStorage` on the process's pool; configured by `postgres_url`."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,  # noqa: FBT001, FBT002 - the signature of the base
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        engine = pooled_engine(postgres_url, os.getpid())
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine  # noqa: SLF001 - the base makes its engine itself

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        return cls(
            config_value["postgres_url"],
            config_value.get("should_autocreate_tables", True),
            inst_data,
        )


@cache
def pooled_engine(postgres_url: str, process_id: int) -> Engine:
    """One engine per process: a forked child must not share its parent's connections."""
    assert process_id == os.getpid()  # noqa: S101 - the key of the cache
    return create_engine(
        postgres_url,
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_recycle=POOL_RECYCLE_SECONDS,
        # A server that was restarted is found out before a statement fails on it.
        pool_pre_ping=True,
    )
