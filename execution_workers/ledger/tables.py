"""The ledger's tables, in the schema `ledger`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "ledger"
metadata = MetaData(schema=SCHEMA)

request_fences = Table(
    "request_fences",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("fence", BigInteger, nullable=False, comment="the highest seen"),
    Column("raised_at", DateTime(timezone=True), nullable=False),
    Column(
        "is_closed",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="the run of this fence is over: its calls are refused, too",
    ),
)

effects = Table(
    "effects",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("wanted_digest", Text, nullable=False, comment="SHA-256 of what was asked for"),
    Column("effect", Text, nullable=False, comment="created or adopted"),
    Column("created_by", Text, nullable=False, comment="the request in the provider's marker"),
    Column("provider_references", JSONB, nullable=False),
    Column("event", Text, comment="told with every answer that has this effect"),
    Column("fence", BigInteger, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("undone_at", DateTime(timezone=True), comment="the request has let go of it"),
    comment="successful effects only; a failure leaves no row",
)

fences_by_age = Index("request_fences_by_age", request_fences.c.raised_at)
live_effects_by_item = Index(
    "effects_live_by_item", effects.c.item, postgresql_where=text("undone_at IS NULL")
)
