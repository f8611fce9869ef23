"""Migrates the ledger: `python -m execution_workers.bootstrap`. Repeating it changes nothing."""

from __future__ import annotations

import sys

from execution_workers.ledger.migrate import migrate
from execution_workers.settings import LedgerSettings
from idp_kernel.settings import read_settings


def main() -> None:
    """Migrate the database that the environment names."""
    migrate(read_settings(LedgerSettings).database_url)
    sys.stdout.write("execution-workers: the ledger is up to date\n")


if __name__ == "__main__":
    main()
