"""What breaks a running platform from outside, and is whole again once the block is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

from idp_kernel.services import DEFAULT_PORTS
from tests.e2e import dagster_ui
from tests.e2e.logins import as_superuser
from tests.e2e.platform import Platform

SCHEDULE_NAME_TAG = "dagster/schedule_name"
"""Dagster's own, by which it knows the runs of a schedule."""


@contextmanager
def standing_still(platform: Platform, *programs: str) -> Iterator[None]:
    """The processes are there and do nothing."""
    pids = [platform.pid_of(program) for program in programs]
    with ExitStack() as mended:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            mended.callback(os.kill, pid, signal.SIGCONT)
        yield


@contextmanager
def locked_out(platform: Platform, role: str) -> Iterator[None]:
    """PostgreSQL ends a service's connections and lets it in no more."""
    with as_superuser(platform) as connection:
        connection.autocommit = True
        connection.execute(f"ALTER ROLE {role} NOLOGIN".encode())
        try:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,)
            )
            yield
        finally:
            connection.execute(f"ALTER ROLE {role} LOGIN".encode())


@contextmanager
def sealed_store(platform: Platform) -> Iterator[None]:
    """The secret store serves nobody; its next start unseals it."""
    answer = platform.client.put(
        platform.url(DEFAULT_PORTS.openbao, "/v1/sys/seal"),
        headers={"X-Vault-Token": platform.openbao_root_token},
    )
    assert answer.status_code == 204, answer.text
    try:
        yield
    finally:
        os.kill(platform.pid_of("openbao"), signal.SIGTERM)
        platform.await_ready()


@contextmanager
def held(platform: Platform, request_ids: Sequence[str]) -> Iterator[None]:
    """Somebody has left a transaction open in which these requests are locked."""
    with as_superuser(platform, "idp") as connection:
        found = connection.execute(
            "SELECT id FROM control_plane.workflow_requests WHERE id = ANY(%s::uuid[]) FOR UPDATE",
            (list(request_ids),),
        ).fetchall()
        assert len(found) == len(request_ids)
        yield


def let_expire(platform: Platform, request_id: str) -> None:
    """The request's deadline is over."""
    _change_request(platform, request_id, "deadline_at = now()")


def has_waited(platform: Platform, request_id: str, seconds: int) -> None:
    """The request has waited for providers for so much longer."""
    longer = f"provider_waited_seconds = provider_waited_seconds + {seconds}"
    _change_request(platform, request_id, longer)


def wait_no_longer(platform: Platform, request_id: str) -> None:
    """As after half a minute, when a request that waits looks at what it waits for again; one that
    looks just now is left alone.
    """
    waiting = "CASE WHEN state = 'waiting' THEN now() ELSE waiting_until END"
    _change_request(platform, request_id, f"waiting_until = {waiting}")


def _change_request(platform: Platform, request_id: str, changed: str) -> None:
    change = f"UPDATE control_plane.workflow_requests SET {changed} WHERE id = %s::uuid"  # noqa: S608 - the texts above
    with as_superuser(platform, "idp") as connection:
        assert connection.execute(change.encode(), (request_id,)).rowcount == 1


def age(platform: Platform, secret_id: str, by: timedelta) -> None:
    """The credential was issued so much earlier."""
    with as_superuser(platform, "idp") as connection:
        aged = connection.execute(
            "UPDATE control_plane.secrets SET rotated_at = rotated_at - %(by)s,"
            " next_rotation_at = next_rotation_at - %(by)s WHERE id = %(id)s::uuid",
            {"by": by, "id": secret_id},
        )
        assert aged.rowcount == 1


def put_cursor(platform: Platform, key: str, value: str) -> None:
    """Dagster's storage remembers something else."""
    with as_superuser(platform, "dagster") as connection:
        put = connection.execute("UPDATE kvs SET value = %s WHERE key = %s", (value, key))
        assert put.rowcount == 1


def run_of_schedule(platform: Platform, schedule: str, job: str, config: dict[str, Any]) -> str:
    """How a run ended that Dagster takes for one of the schedule's."""
    run_id = dagster_ui.launch(platform, config, job, {SCHEDULE_NAME_TAG: schedule})
    return str(dagster_ui.ended_run(platform, run_id)["status"])
