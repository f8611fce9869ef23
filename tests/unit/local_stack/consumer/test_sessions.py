"""What a login that failed says about the login."""

from __future__ import annotations

import psycopg
import pytest

from idp_kernel.errors import Unavailable
from local_stack.consumer.sessions import Session, _is_about_the_login
from local_stack.consumer.store import DatabaseLogin
from tests.fixtures.stack import free_port


@pytest.mark.parametrize(
    ("told", "is_refusal"),
    [
        ('FATAL:  password authentication failed for user "x"', True),
        ('FATAL:  role "x" is not permitted to log in', True),
        ('FATAL:  role "x" does not exist', True),
        ('FATAL:  permission denied for database "applications"', True),
        ("FATAL:  the database system is starting up", False),
        ("FATAL:  the database system is shutting down", False),
        ("FATAL:  sorry, too many clients already", False),
        ("FATAL:  terminating connection due to administrator command", False),
        ("Connection refused. Is the server running on that host?", False),
        ("server closed the connection unexpectedly", False),
        ("connection timeout expired", False),
    ],
)
def test_only_what_is_about_the_login_is_a_refusal(told: str, *, is_refusal: bool) -> None:
    error = psycopg.OperationalError(f'connection to server at "127.0.0.1" failed: {told}')
    assert _is_about_the_login(error) is is_refusal


def test_no_server_is_no_refusal_and_tells_no_value() -> None:
    login = DatabaseLogin.model_validate(
        {
            "host": "127.0.0.1",
            "port": free_port(),
            "database": "applications",
            "username": "somebody",
            "password": "a-value-nobody-should-find",
        }
    )
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        Session(login)
    assert "somebody" not in caught.value.message
    assert "a-value-nobody-should-find" not in repr(login) + repr(caught.value.__cause__)
