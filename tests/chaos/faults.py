"""Other troubles than a killed process, each brought about while requests are at work."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from execution_workers import failpoints as workers
from execution_workers.manifests import OWNERSHIP_PATH
from idp_dagster import failpoints as engine
from idp_kernel.workflows import Step
from tests.chaos.cells import Victim, Way
from tests.chaos.results import Finding, Kind
from tests.chaos.rounds import Harness
from tests.chaos.traffic import Asked, NotAnswered
from tests.e2e.logins import as_superuser
from tests.e2e.platform import eventually, minimal_environment

AWAY_SECONDS = 60.0
FULL_SECONDS = 20.0
LEASE_SECONDS = 15.0
ASLEEP_SECONDS = LEASE_SECONDS + 7
"""Longer than a lease, with all that is renewed shortly before."""
TWO_DAEMONS_SECONDS = 30.0
_MIX = (Way.ONBOARDING, Way.PROVISIONING, Way.ROTATION, Way.EMERGENCY, Way.DECOMMISSIONING)


class NotPossible(Exception):
    """Not on this machine, which the message says why."""


@dataclass(frozen=True)
class Fault:
    """A trouble by its name in the results."""

    name: str
    bring: Callable[[Harness], None]


def run_faults(harness: Harness, wanted: Sequence[Fault]) -> None:
    """One after the other; each ends with everything running again."""
    for fault in wanted:
        harness.show.line(f"[cyan]{fault.name}[/cyan]")
        try:
            fault.bring(harness)
        except NotPossible as why:
            harness.results.not_possible[fault.name] = str(why)
            harness.show.line(f"  not possible here: {why}")
        else:
            # The run that this one goes on with may have had it, too.
            harness.results.faults = list(dict.fromkeys([*harness.results.faults, fault.name]))


def _under_traffic(
    harness: Harness, trouble: Callable[[], None], ways: Sequence[Way] = _MIX
) -> None:
    """Requests begin, trouble comes and goes, all have to end well."""
    asked, made = harness.traffic.take_all(ways)
    harness.results.requests += len(made)
    for each in asked:
        harness.traffic.prepare(each)
    answers = [harness.traffic.start(partial(harness.traffic.ask, each)) for each in asked]
    time.sleep(harness.traffic.chosen.uniform(0.5, 2))
    trouble()
    _judge(harness, asked, answers)


def _judge(harness: Harness, asked: Sequence[Asked], answers: Sequence[Future[Any]] = ()) -> None:
    since = time.monotonic()
    for answer in answers:
        try:
            answer.result()
        except NotAnswered as error:
            harness.found([Finding(Kind.LOST, f"a command was not taken: {error}")])
    taken = [each for each in asked if each.request_id]
    slowest = harness.await_ends(taken, since=since, judged=False)
    harness.judge(taken)
    harness.show.line(f"  all ended {slowest:.1f} s after it was over")


# ---------------------------------------------------------------- what is away


def postgres_away(harness: Harness) -> None:
    """Stopped, refusing every connection, and started again."""

    def trouble() -> None:
        harness.victims.stop(Victim.POSTGRES)
        time.sleep(AWAY_SECONDS)
        harness.victims.start(Victim.POSTGRES)

    _under_traffic(harness, trouble)


def asleep(victim: Victim) -> Callable[[Harness], None]:
    """A cut: whoever calls the victim waits, longer than a lease; then all is there again."""

    def bring(harness: Harness) -> None:
        def trouble() -> None:
            with harness.victims.stopped(harness.victims.tree_of(victim)):
                time.sleep(ASLEEP_SECONDS)

        _under_traffic(harness, trouble)

    return bring


def sleeping_run(harness: Harness) -> None:
    """The Celery children sleep past their leases in the middle of a step, then wake."""

    def trouble() -> None:
        with harness.victims.stopped(harness.victims.pids_of(Victim.WORKER_CHILD)):
            time.sleep(ASLEEP_SECONDS)

    _under_traffic(harness, trouble)


def full_disk(harness: Harness) -> None:
    """The file system that the platform's data are on takes no byte more for a while."""
    home = harness.platform.home
    if not os.path.ismount(home.parent):
        raise NotPossible("the platform's data are not on a file system of their own")
    filler = home.parent / "filler"

    def trouble() -> None:
        free = shutil.disk_usage(home.parent).free
        with filler.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, free)
            except OSError:
                while _writes(file.fileno()):
                    pass
        until = time.monotonic() + FULL_SECONDS
        while time.monotonic() < until:
            time.sleep(1)
        filler.unlink()

    try:
        _under_traffic(harness, trouble)
    finally:
        filler.unlink(missing_ok=True)


def _writes(descriptor: int) -> bool:
    try:
        return os.write(descriptor, bytes(1 << 20)) > 0
    except OSError:
        return False


def clock_jump(harness: Harness) -> None:
    """Never brought about: the clock is that of everything on the machine."""
    raise NotPossible(
        "the wall clock belongs to the whole machine, and Linux has no namespace for it; leases, "
        "deadlines and waits are tried with a clock of their own in tests/property and "
        "tests/endurance"
    )


# ------------------------------------------------------------ what comes twice


def two_daemons(harness: Harness) -> None:
    """Somebody starts a second daemon by mistake."""
    running = psutil.Process(harness.victims.pid_of(Victim.DAEMON))

    def trouble() -> None:
        with tempfile.TemporaryFile() as output:
            second = subprocess.Popen(
                running.cmdline(),
                cwd=running.cwd(),
                env=running.environ(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            time.sleep(TWO_DAEMONS_SECONDS)
            second.kill()
            second.wait()

    _under_traffic(harness, trouble)


def message_twice(harness: Harness) -> None:
    """The broker delivers what launches a run a second time."""
    (asked,), made = harness.traffic.take_all([Way.PROVISIONING])
    harness.results.requests += len(made)
    with harness.victims.stopped([harness.victims.pid_of(Victim.WORKER)]):
        harness.traffic.ask(asked)
        doubled = eventually(lambda: _double(harness), what="the message is in the broker")
    assert doubled
    _judge(harness, [asked])


def _double(harness: Harness) -> int:
    with as_superuser(harness.platform, "dagster") as connection:
        return connection.execute(
            "INSERT INTO kombu_message (id, visible, timestamp, payload, version, queue_id)"
            " SELECT nextval('message_id_sequence'), visible, timestamp, payload, version, queue_id"
            " FROM kombu_message WHERE visible"
        ).rowcount


# ------------------------------------------------------- what comes in between


def somebody_elses_commit(harness: Harness) -> None:
    """Between an effect and its repeat, somebody takes away again what it made: it stays so."""
    place = engine.after_call(Step.SEED_REPOSITORIES)
    (asked,), _ = harness.traffic.take_all([Way.ONBOARDING])
    hit = harness.platform.arm(place)
    harness.traffic.ask(asked)
    eventually(hit.exists, what="both repositories are seeded")
    _remove(harness, f"{harness.traffic.team}/{asked.application.slug}", OWNERSHIP_PATH)
    harness.platform.kill_at(place)
    _judge(harness, [asked])


def _remove(harness: Harness, repository: str, path: str) -> None:
    platform = harness.platform
    token = (platform.home / "keys" / "forge-bot.token").read_text().strip()
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone"
        for arguments, where in (
            (("clone", f"{platform.forge_url}/{repository}.git", str(clone)), None),
            (("rm", path), clone),
            (("commit", "-m", "Not here"), clone),
            (("push", "origin", "HEAD:main"), clone),
        ):
            ran = platform.git(*arguments, token=token, cwd=where)
            assert ran.returncode == 0, ran.stdout + ran.stderr


def cancelled_call(harness: Harness) -> None:
    """A call to the workers stands still for longer than its cancelled run waits for it; it does
    nothing more then.
    """
    traffic = harness.traffic
    (asked,), made = traffic.take_all([Way.PROVISIONING])
    harness.results.requests += len(made)
    hit = harness.platform.arm(workers.SECRET_MARKED)
    traffic.ask(asked)
    eventually(hit.exists, what="the call is in the middle")
    traffic.cancel(asked)
    _judge(harness, [asked])
    hit.unlink()
    eventually(lambda: not _calls_in_flight(harness), what="the call is over")
    harness.find_late_effects()


def overtaken_call(harness: Harness) -> None:
    """A call to the workers stands still until the request's next attempt has called them, too, and
    both are cancelled; it does nothing more then.
    """
    traffic, place = harness.traffic, workers.SECRET_MARKED
    (asked,), made = traffic.take_all([Way.PROVISIONING])
    harness.results.requests += len(made)
    hit = harness.platform.arm(place)
    traffic.ask(asked)
    eventually(hit.exists, what="the call is in the middle")
    traffic.cancel(asked)
    assert not traffic.await_ends([asked], harness.stuck_after_seconds), f"{asked} goes on"
    traffic.retry(asked)
    eventually(lambda: _fence(harness, asked) > 1, what="the next attempt calls as well")
    traffic.cancel(asked)
    _judge(harness, [asked])
    hit.unlink()
    eventually(lambda: not _calls_in_flight(harness), what="the call is over")
    harness.find_late_effects()


def _fence(harness: Harness, asked: Asked) -> int:
    """The highest that the workers have seen."""
    with as_superuser(harness.platform, "idp") as connection:
        row = connection.execute(
            "SELECT fence FROM ledger.request_fences WHERE request_id = %s", (asked.request_id,)
        ).fetchone()
    return 0 if row is None else int(row[0])


def _calls_in_flight(harness: Harness) -> int:
    with as_superuser(harness.platform, "idp") as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND application_name = 'execution-workers'"
        ).fetchone()
    assert row is not None
    return int(row[0])


FAULTS = (
    Fault("PostgreSQL away for 60 s", postgres_away),
    Fault("full disk", full_disk),
    Fault("clock jump", clock_jump),
    Fault("execution-workers cut off for longer than a lease", asleep(Victim.EXECUTION_WORKERS)),
    Fault("control-plane-api cut off for longer than a lease", asleep(Victim.CONTROL_PLANE_API)),
    Fault("forge cut off for longer than a lease", asleep(Victim.FORGE)),
    Fault("runs asleep for longer than a lease", sleeping_run),
    Fault("two daemons", two_daemons),
    Fault("the same Celery message twice", message_twice),
    Fault("somebody else's commit between an effect and its repeat", somebody_elses_commit),
    Fault("a call that stands longer than its cancelled run", cancelled_call),
    Fault("a call that a later attempt has overtaken", overtaken_call),
)


def own_file_system(folder: Path) -> bool:
    """Mounts a small file system there, which can be filled; false where that is not allowed."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4g,mode=755", "idp-chaos", str(folder)],
        env=minimal_environment(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    return mounted.returncode == 0
