"""The ledger: which effects each request has had, and which runs are too old to have more."""
