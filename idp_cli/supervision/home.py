"""Where one platform of the embedded default keeps everything it owns, and whether it runs.

One folder (`.idp`, or what `--home`/`IDP_HOME` names) belongs to one platform. Its lock is held by
`idp up` and by the supervisor it starts, so it is free only when both are gone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from idp_kernel.errors import Conflict, InvalidInput
from idp_kernel.ids import new_id
from idp_kernel.tokens import write_private_file
from idp_kernel.wire.base import WireModel

SOCKET_PATH_LIMIT = 90
"""Unix sockets take about 107 bytes, and supervisor first binds `<path>.<pid>`."""
UNFIT_CHARACTERS = frozenset("\"'`;#%\\")
"""What supervisor's configuration format or shells cannot carry inside a path."""
LOOK_TIMEOUT_SECONDS = 0.5
"""How long somebody may hold the lock who only looks whether it is free."""
_TRY_EVERY_SECONDS = 0.02


class RunRecord(WireModel):
    """Who runs the platform of a home just now."""

    up_pid: int
    supervisor_pid: int
    supervisor_created: float
    """When the supervisor's process was made, on the clock that `psutil` tells such times by."""
    port_offset: int


@dataclass(frozen=True)
class Home:
    """The folder of one platform; `root` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> Home:
        """The home at `path`; nothing is made yet."""
        return cls(path.expanduser().absolute())

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def admin_token(self) -> Path:
        return self.keys / "admin.token"

    def passfile_of(self, role: str) -> Path:
        """The password file of a database role."""
        return self.keys / "postgres" / f"{role}.pgpass"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def dagster(self) -> Path:
        """`DAGSTER_HOME`."""
        return self.root / "dagster"

    @property
    def configuration(self) -> Path:
        return self.run / "supervisord.conf"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "supervisord.log"

    @property
    def socket(self) -> Path:
        """The supervisor's socket: in the home, or where the path is short enough."""
        within = self.run / "supervisor.sock"
        if len(os.fsencode(within)) <= SOCKET_PATH_LIMIT:
            return within
        return self._private_temporary_folder / "supervisor.sock"

    @property
    def _private_temporary_folder(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"idp-{os.getuid()}-{digest}"

    def log_of(self, program: str) -> Path:
        return self.logs / f"{program}.log"

    def installation_id(self) -> str:
        """Marks everything this platform creates at providers; made once, never changed."""
        path = self.root / "installation-id"
        if not path.exists():
            write_private_file(path, new_id())
        return path.read_text(encoding="utf-8")

    def prepare(self) -> None:
        """Makes the folders, closed to other accounts; those that are there stay as they are.

        Raises `InvalidInput` when the path holds characters the supervisor cannot carry, or when
        no folder of ours can be there (`home_unusable`).
        """
        check_path(self.root)
        with self._usable():
            for folder in (self.root, self.keys, self.logs, self.run, self.dagster):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.socket.parent != self.run:
            make_private(self.socket.parent)

    def leave(self) -> None:
        """Takes away what `prepare` made outside, unless a platform of this home has it in use."""
        folder = self.socket.parent
        if folder != self.run and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def record(self) -> RunRecord | None:
        """Who runs the platform, as last written; `None` after an orderly stop."""
        with self._usable():
            try:
                return RunRecord.model_validate_json(self._record_file.read_bytes())
            except (FileNotFoundError, ValidationError):
                return None

    def write_record(self, record: RunRecord) -> None:
        draft = self._record_file.with_suffix(".draft")
        draft.write_text(record.model_dump_json(), encoding="utf-8")
        draft.replace(self._record_file)

    def forget_record(self) -> None:
        self._record_file.unlink(missing_ok=True)

    @property
    def _record_file(self) -> Path:
        return self.run / "platform.json"

    @property
    def lock_file(self) -> Path:
        return self.run / "up.lock"

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Holds the home's lock; yields the descriptor, for the supervisor to hold it as well.

        Raises `Conflict` when a platform already runs here.
        """
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._lock(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        # Whoever only looks (`is_locked`) is through in a moment.
        give_up_at = time.monotonic() + LOOK_TIMEOUT_SECONDS
        while not _has_locked(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > give_up_at:
                record = self.record()
                who = f" (process {record.up_pid})" if record else ""
                raise Conflict(
                    f"A platform already runs in {self.root}{who}.", code="already_running"
                )
            time.sleep(_TRY_EVERY_SECONDS)

    def is_locked(self) -> bool:
        """Whether a platform runs here, is starting or is still stopping."""
        with self._usable():
            try:
                descriptor = os.open(self.lock_file, os.O_RDWR)
            except FileNotFoundError:
                return False
        try:
            return not _has_locked(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InvalidInput(
                f"{self.root} cannot be the home of a platform: {error.filename}: "
                f"{error.strerror}.",
                code="home_unusable",
            ) from error


def _has_locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_path(path: Path) -> None:
    """Raises `InvalidInput` when `path` cannot stand in the supervisor's configuration."""
    unfit = sorted(
        {each for each in str(path) if each in UNFIT_CHARACTERS or not each.isprintable()}
    )
    if unfit:
        found = " ".join(repr(each) for each in unfit)
        raise InvalidInput(
            f"The path {str(path)!r} holds {found}, which the supervisor cannot carry.",
            code="unfit_path",
        )


def make_private(folder: Path) -> None:
    """A folder only we can enter; raises `Conflict` when somebody else made it first."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Conflict(
            f"{folder} should be a private folder of ours for the supervisor's socket, and is "
            "not. Remove it, or choose a shorter home.",
            code="socket_folder_taken",
        )
