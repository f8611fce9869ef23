"""A pretend database and logins to it."""

from __future__ import annotations

from collections import Counter

from idp_kernel.errors import ProviderRejected, Unavailable
from local_stack.consumer.store import DatabaseLogin
from local_stack.consumer.usage import LoginResult

REFUSED = ProviderRejected("The database refused the login.", code="login_refused")
AWAY = Unavailable("The database cannot be reached.", code="unreachable")


def login_of(user: str) -> DatabaseLogin:
    return DatabaseLogin.model_validate(
        {
            "host": "127.0.0.1",
            "port": 5432,
            "database": "applications",
            "username": user,
            "password": "x",
        }
    )


class PretendDatabase:
    """Lets in whom it knows; counts what it is asked."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.away = False
        self.query_error: Exception | None = None
        self.open: list[str] = []
        """Who has a session now, the oldest first."""
        self.most_open = 0
        self.uses: list[tuple[str, bool]] = []
        """Who used the database, and whether the table was made."""
        self.results: Counter[LoginResult] = Counter()

    def log_in(self, login: DatabaseLogin) -> PretendSession:
        if self.away:
            raise AWAY
        if login.username not in self.known:
            raise REFUSED
        self.open.append(login.username)
        self.most_open = max(self.most_open, len(self.open))
        return PretendSession(self, login.username)

    def count(self, result: LoginResult) -> None:
        self.results[result] += 1


class PretendSession:
    def __init__(self, database: PretendDatabase, user: str) -> None:
        self._database = database
        self._user = user

    def use(self, _binding: str, *, makes_table: bool) -> None:
        if self._database.query_error is not None:
            raise self._database.query_error
        self._database.uses.append((self._user, makes_table))

    def close(self) -> None:
        self._database.open.remove(self._user)
