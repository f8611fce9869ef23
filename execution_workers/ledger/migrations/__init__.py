"""Alembic migrations of the schema `ledger`."""
