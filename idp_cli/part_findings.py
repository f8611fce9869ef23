"""What the parts of the platform on this machine say when they are asked: databases, secret store,
forge, GitOps agent and the queue of the workers. Each is asked once, with a time limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg

from idp_cli.durations import rough_duration_text
from idp_cli.invocation import Invocation, read_token
from idp_cli.output import program_word
from idp_cli.store_login import SECRET_STORE
from idp_cli.supervision.embedded import DATABASE_OF_ROLE
from idp_cli.supervision.keys import AGENT_READER_TOKEN, FORGE_AGENT_TOKEN
from idp_cli.supervision.preflight import Finding
from idp_cli.supervision.remote import ProcessInfo
from idp_kernel.errors import PlatformError
from idp_kernel.http.client import ServiceClient
from idp_kernel.services import DAEMON_SILENT_SECONDS, LOOPBACK, ServiceName
from idp_kernel.wire.agent import RECONCILIATIONS, Reconciliation, Reconciliations
from idp_kernel.wire.forge import REPOSITORIES, ForgeRepositories

ANSWERS_WITHIN_SECONDS = 3
LONGEST_QUEUED_SECONDS = 60
"""A run that is not begun for longer than this waits for workers that do not come."""
SEAL_STATUS = "/v1/sys/seal-status"

_MIGRATION = "SELECT version_num FROM control_plane.alembic_version"
_LEDGER = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'ledger'"
_QUEUE = """
    SELECT count(*), coalesce(extract(epoch FROM localtimestamp - min(create_timestamp)), 0)
    FROM runs WHERE status IN ('NOT_STARTED', 'QUEUED', 'STARTING')
"""
_SIGNS_OF_LIFE = """
    SELECT json_object_agg(daemon_type, extract(epoch FROM (now() AT TIME ZONE 'UTC') - timestamp))
    FROM daemon_heartbeats
"""


def part_findings(invocation: Invocation) -> Iterator[Finding]:
    """A finding for each part, in the order in which they stand on each other."""
    yield _databases(invocation)
    yield _migrations(invocation)
    yield store_finding(invocation)
    yield _forge(invocation)
    yield _agent(invocation)
    yield _queue(invocation)


def _databases(invocation: Invocation) -> Finding:
    refused = []
    for role in DATABASE_OF_ROLE:
        try:
            _ask(invocation, role, "SELECT 1")
        except psycopg.Error as error:
            refused.append(f"{role} cannot log in ({_first_line(error)})")
    advice = _start_anew("which makes roles and passwords that are missing")
    told = f"{len(DATABASE_OF_ROLE)} roles log in with their own passwords"
    return Finding("databases", not refused, "; ".join(refused) or told, advice)


def _migrations(invocation: Invocation) -> Finding:
    try:
        (version,) = _ask(invocation, "control_plane", _MIGRATION)
        (tables,) = _ask(invocation, "ledger", _LEDGER)
        _client(invocation, ServiceName.CONTROL_PLANE_API).send("GET", "/readyz")
    except psycopg.Error as error:
        return Finding("migrations", False, _first_line(error), _start_anew("which migrates"))
    except PlatformError as error:
        return Finding("migrations", False, error.message, _start_anew("which migrates"))
    told = f"control plane at {version}, ledger with {tables} tables"
    return Finding("migrations", bool(tables), told, _start_anew("which migrates"))


def store_finding(invocation: Invocation) -> Finding:
    """Whether it gives secrets: it does not while it is sealed."""
    advice = f"Read {invocation.home.log_of('openbao')}; {_start_anew('which unseals it')}"

    def look() -> Finding:
        client = invocation.client_with(
            None, f"http://{LOOPBACK}:{invocation.ports.openbao}", SECRET_STORE
        )
        status: dict[str, Any] = json.loads(client.send("GET", SEAL_STATUS).content)
        if not status.get("initialized"):
            return Finding("secret store", False, "it was never initialised", advice)
        word = "sealed: it gives no secret to anybody" if status.get("sealed") else "unsealed"
        told = f"{word}, OpenBao {status.get('version', 'of an unknown version')}"
        return Finding("secret store", not status.get("sealed"), told, advice)

    return _asked("secret store", look, advice)


def _forge(invocation: Invocation) -> Finding:
    advice = f"Read {invocation.home.log_of(ServiceName.LOCAL_FORGE)}"

    def look() -> Finding:
        client = _client(invocation, ServiceName.LOCAL_FORGE, FORGE_AGENT_TOKEN)
        found = client.call("GET", REPOSITORIES, ForgeRepositories).items
        return Finding("forge", True, _counted(len(found)))

    return _asked("forge", look, advice)


def _agent(invocation: Invocation) -> Finding:
    advice = f"Read {invocation.home.log_of(ServiceName.LOCAL_GITOPS_AGENT)}"

    def look() -> Finding:
        client = _client(invocation, ServiceName.LOCAL_GITOPS_AGENT, AGENT_READER_TOKEN)
        found = client.call("GET", RECONCILIATIONS, Reconciliations).items
        sick = [each for each in found if _is_sick(each)]
        if not sick:
            return Finding("GitOps agent", True, f"{_counted(len(found))} reconciled")
        names = ", ".join(f"{each.owner}/{each.name}" for each in sick[:3])
        told = f"{len(sick)} of {len(found)} repositories are not as they should be: {names}"
        return Finding("GitOps agent", False, told, f"See why: {program_word()} env list; {advice}")

    return _asked("GitOps agent", look, advice)


def _queue(invocation: Invocation) -> Finding:
    advice = f"Read {invocation.home.log_of('worker')} and {invocation.home.log_of('daemon')}"
    try:
        count, seconds = _ask(invocation, "dagster", _QUEUE)
    except psycopg.Error as error:
        return Finding("queue", False, _first_line(error), advice)
    if not count:
        return Finding("queue", True, "no run waits for a worker")
    oldest = rough_duration_text(int(seconds))
    told = f"{count} runs wait for a worker, the oldest for {oldest}"
    return Finding("queue", float(seconds) <= LONGEST_QUEUED_SECONDS, told, advice)


def daemons_finding(invocation: Invocation, process: ProcessInfo) -> Finding:
    """Whether Dagster's daemons, threads of that process, give signs of life: it may run and hang.
    What is on record from before it began tells nothing of it.
    """
    subject, log = "Dagster's daemons", invocation.home.log_of("daemon")
    advice = f"Read {log}; end the process, which is started again by itself: kill -9 {process.pid}"
    if process.started_at is None:
        return Finding(subject, False, "their process is away", f"Read {log}")
    try:
        (found,) = _ask(invocation, "dagster", _SIGNS_OF_LIFE)
    except psycopg.Error as error:
        return Finding(subject, False, _first_line(error), f"Read {log}")
    lasts = (datetime.now(UTC) - process.started_at).total_seconds()
    ages = {name: age for name, age in (found or {}).items() if age < lasts}
    silent = sorted(name for name, age in ages.items() if age > DAEMON_SILENT_SECONDS)
    if silent:
        since = rough_duration_text(int(max(ages[name] for name in silent)))
        told = f"{', '.join(silent)} gave no sign of life for {since}"
        return Finding(subject, False, told, advice)
    if not ages and lasts > DAEMON_SILENT_SECONDS:
        return Finding(subject, False, "they gave no sign of life since they began", advice)
    told = f"{len(ages)} gave signs of life in the last {DAEMON_SILENT_SECONDS} s"
    return Finding(subject, True, told if ages else "they begin")


def clock_finding(invocation: Invocation) -> Finding:
    """Whether this machine's clock can be right: files that are here were not made in the future,
    for tokens and deadlines go by it.
    """
    now = datetime.now(UTC)
    keys = invocation.home.keys
    newest = max((each.stat().st_mtime for each in keys.rglob("*")), default=0.0)
    ahead = newest - now.timestamp()
    told = f"{now:%Y-%m-%d %H:%M:%S}Z"
    if ahead <= 1:
        return Finding("clock", True, told)
    told += f", which is {rough_duration_text(int(ahead))} before the newest file in {keys}"
    return Finding("clock", False, told, "Set this machine's clock; tokens and deadlines go by it")


def _is_sick(found: Reconciliation) -> bool:
    return any(condition.status == "False" for condition in found.conditions)


def _asked(subject: str, look: Callable[[], Finding], advice: str) -> Finding:
    try:
        return look()
    except PlatformError as error:
        return Finding(subject, False, error.message, advice)
    except (OSError, ValueError) as error:
        return Finding(subject, False, f"it cannot be asked: {error}", advice)


def _ask(invocation: Invocation, role: str, question: str) -> tuple[Any, ...]:
    """The one row of an answer, asked as that role."""
    with psycopg.connect(
        host=LOOPBACK,
        port=invocation.ports.postgres,
        dbname=DATABASE_OF_ROLE[role],
        user=role,
        passfile=str(invocation.home.passfile_of(role)),
        connect_timeout=ANSWERS_WITHIN_SECONDS,
        application_name="idp-doctor",
        options=f"-c statement_timeout={ANSWERS_WITHIN_SECONDS}s",
    ) as connection:
        return connection.execute(question.encode()).fetchone() or (None, None)


def _client(
    invocation: Invocation, service: ServiceName, token_file: str | None = None
) -> ServiceClient:
    ports = {
        ServiceName.CONTROL_PLANE_API: invocation.ports.control_plane_api,
        ServiceName.LOCAL_FORGE: invocation.ports.local_forge,
        ServiceName.LOCAL_GITOPS_AGENT: invocation.ports.local_gitops_agent,
    }
    token = None
    if token_file is not None:
        token = read_token(invocation.home.keys / token_file)
    return invocation.client_with(
        token,
        f"http://{LOOPBACK}:{ports[service]}",
        service,
        timeout_seconds=ANSWERS_WITHIN_SECONDS,
    )


def _counted(repositories: int) -> str:
    return "1 repository" if repositories == 1 else f"{repositories} repositories"


def _start_anew(why: str) -> str:
    idp = program_word()
    return f"Stop and start the platform, {why}: {idp} down, then {idp} up"


def _first_line(error: psycopg.Error) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
