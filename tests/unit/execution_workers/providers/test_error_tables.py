"""Every foreign error has a line in its table, and every line says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import psycopg
import psycopg.errors
import pytest

from execution_workers.providers.argocd.errors import ERRORS as ARGOCD_ERRORS
from execution_workers.providers.calls import Verdict
from execution_workers.providers.flux.errors import ERRORS as FLUX_ERRORS
from execution_workers.providers.flux.errors import NOT_SERVED
from execution_workers.providers.forges.git_errors import (
    GIT_ERRORS,
    GIT_UNKNOWN,
    is_overtaken,
    of_git,
)
from execution_workers.providers.gitea.errors import ERRORS as GITEA_ERRORS
from execution_workers.providers.github.errors import ERRORS as GITHUB_ERRORS
from execution_workers.providers.harbor.errors import ERRORS as HARBOR_ERRORS
from execution_workers.providers.harbor.errors import (
    NO_FREE_ROBOT,
    OTHER_PREFIX,
    ROBOT_REPLACED,
)
from execution_workers.providers.harbor.errors import NOT_CONFIGURED as NO_HARBOR
from execution_workers.providers.local_agent.errors import ERRORS as AGENT_ERRORS
from execution_workers.providers.local_forge.errors import ERRORS as FORGE_ERRORS
from execution_workers.providers.openbao.errors import ERRORS as OPENBAO_ERRORS
from execution_workers.providers.postgres.errors import (
    IN_USE,
    LOGIN_REPLACED,
    NO_FREE_LOGIN,
    NOT_CONFIGURED,
    ON_CONNECTING,
    is_refused_login,
    of_error,
)
from execution_workers.providers.postgres.errors import OF_EXCEPTION as OF_POSTGRES
from execution_workers.providers.problems import ErrorTable, translate
from execution_workers.providers.rest import HttpErrors, seconds_of
from idp_kernel.errors import PlatformError, ProviderRejected, Unavailable
from idp_kernel.http.problems import STATUS_BY_ERROR

TABLES = {"local-forge": FORGE_ERRORS, "local-gitops-agent": AGENT_ERRORS}
VENDORS: dict[str, HttpErrors] = {
    "argocd": ARGOCD_ERRORS,
    "flux": FLUX_ERRORS,
    "gitea": GITEA_ERRORS,
    "github": GITHUB_ERRORS,
    "harbor": HARBOR_ERRORS,
    "openbao": OPENBAO_ERRORS,
}
"""Those with a REST API of their own."""
VERDICTS = [
    *FORGE_ERRORS.values(),
    *AGENT_ERRORS.values(),
    *(verdict for errors in VENDORS.values() for verdict in errors.of_status.values()),
    *(verdict for errors in VENDORS.values() for verdict in errors.of_exception.values()),
    *(errors.unreadable for errors in VENDORS.values()),
    *(verdict for _, verdict in GIT_ERRORS),
    *OF_POSTGRES.values(),
    *(verdict for _, verdict in ON_CONNECTING),
    IN_USE,
    LOGIN_REPLACED,
    NO_FREE_LOGIN,
    NOT_CONFIGURED,
    NO_HARBOR,
    NO_FREE_ROBOT,
    ROBOT_REPLACED,
    OTHER_PREFIX,
    NOT_SERVED,
]


def _subclasses(of: type[Exception]) -> Iterator[type[Exception]]:
    for each in of.__subclasses__():
        if each.__module__.partition(".")[0] in ("httpx", "idp_kernel", "psycopg"):
            yield each
            yield from _subclasses(each)


@pytest.mark.parametrize("errors", VENDORS.values(), ids=VENDORS)
def test_every_exception_of_httpx_is_in_the_table(errors: HttpErrors) -> None:
    assert set(errors.of_exception) == {httpx.RequestError, *_subclasses(httpx.RequestError)}


def test_every_exception_of_psycopg_is_in_the_table_or_has_an_sqlstate() -> None:
    """Those with an SQLSTATE, some 250, are told by the line of their nearest ancestor."""
    kinds: list[type[psycopg.Error]] = [psycopg.Error]
    kinds += [each for each in _subclasses(psycopg.Error) if issubclass(each, psycopg.Error)]
    public = {
        each
        for each in kinds
        if each.sqlstate is None and each.__module__ in ("psycopg", "psycopg.errors")
        if not each.__name__.startswith("_")
    }
    lines = {each for each in OF_POSTGRES if each.sqlstate is None}
    assert lines == public
    assert all(of_error(each()).code for each in kinds)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (psycopg.errors.InsufficientPrivilege(), "postgres_denied"),
        (psycopg.errors.AdminShutdown(), "postgres_unreachable"),
        (psycopg.errors.CannotConnectNow(), "postgres_unreachable"),
        (psycopg.errors.TooManyConnections(), "postgres_busy"),
        (psycopg.errors.QueryCanceled(), "postgres_busy"),
        (psycopg.errors.DuplicateObject(), "postgres_busy"),
        (psycopg.errors.SyntaxError(), "postgres_misused"),
        (psycopg.errors.ReadOnlySqlTransaction(), "postgres_misconfigured"),
        (psycopg.errors.ConnectionTimeout(), "postgres_unreachable"),
        (psycopg.OperationalError("connection refused"), "postgres_unreachable"),
        (psycopg.OperationalError("FATAL:  sorry, too many clients already"), "postgres_busy"),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), "postgres_misconfigured"),
        (psycopg.OperationalError("FATAL:  the database system is starting up"),
         "postgres_unreachable"),
    ],
)  # fmt: skip
def test_postgresqls_errors(error: psycopg.Error, code: str) -> None:
    assert of_error(error).code == code
    assert not is_refused_login(error)


@pytest.mark.parametrize(
    "said",
    [
        'FATAL:  password authentication failed for user "idp_x_a"',
        'FATAL:  role "idp_x_a" is not permitted to log in',
        'FATAL:  role "idp_x_a" does not exist',
        'FATAL:  permission denied for database "applications"',
    ],
)
def test_a_login_that_postgresql_refuses(said: str) -> None:
    assert is_refused_login(psycopg.OperationalError(said))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_error_of_our_own_services_is_in_the_table(table: ErrorTable) -> None:
    assert set(table) == set(STATUS_BY_ERROR) == set(_subclasses(PlatformError))


@pytest.mark.parametrize("errors", VENDORS.values(), ids=VENDORS)
@pytest.mark.parametrize("status", [*range(400, 430), *range(500, 512), 599])
def test_every_status_of_a_vendor_means_something(errors: HttpErrors, status: int) -> None:
    verdict = errors.of(httpx.Response(status))
    assert verdict.error in (ProviderRejected, Unavailable)
    assert (verdict.error is Unavailable) or status < 500


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: verdict.code)
def test_an_error_names_provider_operation_finding_and_remedy(verdict: Verdict) -> None:
    error = verdict.of("openbao", "write secret", "status 400", status="400")
    assert all(part in error.message for part in ("openbao", "write secret", "status 400"))
    assert verdict.remedy in error.message
    assert verdict.remedy.endswith(".")
    contended = {"contended": True} if verdict.contended else {}
    assert error.details == {"target": "openbao", "targetStatus": "400", **contended}


@pytest.mark.parametrize(("name", "table"), TABLES.items())
def test_what_is_our_credentials_fault_is_not_told_as_the_callers(
    name: str, table: ErrorTable
) -> None:
    for kind in STATUS_BY_ERROR:
        if "current" in kind.__init__.__annotations__:
            continue
        translated = translate(table, kind("found"), name, "read")
        assert isinstance(translated, ProviderRejected | Unavailable)


def test_a_retry_time_is_passed_on() -> None:
    error = translate(FORGE_ERRORS, Unavailable("x", retry_after_seconds=7), "local-forge", "read")
    assert isinstance(error, Unavailable)
    assert error.retry_after_seconds == 7


def test_an_error_without_an_answer_has_no_status() -> None:
    error = translate(FORGE_ERRORS, Unavailable("x", code="unreachable"), "local-forge", "read")
    assert error.details["targetStatus"] == "none"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("fatal: Authentication failed for 'http://f/x.git/'", "forge_denied"),
        (
            "fatal: could not read Username for 'http://f': terminal prompts disabled",
            "forge_denied",
        ),
        ("error: RPC failed; HTTP 503\nThe requested URL returned error: 503", "git_broken_off"),
        ("The requested URL returned error: 503", "forge_failed"),
        ("fatal: repository 'http://f/x.git/' not found", "forge_missing"),
        ("! [remote rejected] main -> main (pre-receive hook declined)", "forge_rejected"),
        ("fatal: unable to access: Failed to connect to 127.0.0.1 port 1", "forge_unreachable"),
        ("fatal: unable to access: Could not resolve host: nowhere", "forge_unreachable"),
        ("fatal: the remote end hung up unexpectedly", "git_broken_off"),
        ("something nobody has seen before", "git_failed"),
    ],
)
def test_gits_words(said: str, code: str) -> None:
    assert of_git(said).code == code


def test_what_git_says_of_a_push_that_came_second() -> None:
    assert is_overtaken("! [rejected] main -> main (fetch first)")
    assert is_overtaken("! [rejected] main -> main (non-fast-forward)")
    assert not is_overtaken("! [remote rejected] main -> main (pre-receive hook declined)")
    assert GIT_UNKNOWN.error is Unavailable


def test_credentials_in_what_a_provider_says_are_not_repeated() -> None:
    error = GIT_UNKNOWN.of("local-forge", "git push", "sent Authorization: Bearer abc.def-123")
    assert "abc.def-123" not in error.message


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("0", 0), ("17", 17), ("", None), ("soon", None), ("-3", None), ("\u0661\u0667", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)  # fmt: skip
def test_a_retry_time_is_a_number_or_a_date(retry_after: str, seconds: float | None) -> None:
    assert seconds_of(retry_after) == seconds


def test_a_retry_time_that_is_a_date_counts_from_now() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < (seconds_of(in_a_minute) or 0) <= 60
