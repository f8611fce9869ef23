"""What the issuer's role in PostgreSQL has to be allowed, and whether it is."""

from __future__ import annotations

from collections.abc import Sequence

from execution_workers.ports import Permission
from execution_workers.providers.postgres.client import PostgresClient


def permissions_of(client: PostgresClient) -> Sequence[Permission]:
    """Each with the statement that grants it, for a superuser to run."""
    rights = client.rights()
    role, database = rights.role, rights.database
    return (
        Permission("make roles", rights.makes_roles, f'Run: ALTER ROLE "{role}" CREATEROLE;'),
        Permission(
            f"create schemas in {database}",
            rights.creates_schemas,
            f'Run: GRANT CREATE ON DATABASE "{database}" TO "{role}";',
        ),
        Permission(
            f"let others connect to {database}",
            rights.grants_connect,
            f'Run: GRANT CONNECT ON DATABASE "{database}" TO "{role}" WITH GRANT OPTION;',
        ),
        Permission(
            "act as the roles it makes",
            rights.acts_as_roles_it_makes,
            f"Run: ALTER ROLE \"{role}\" SET createrole_self_grant = 'set, inherit';",
        ),
    )
