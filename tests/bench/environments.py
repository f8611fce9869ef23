"""A virtual environment for each peer, made from its hashed lock file and kept."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.processes import ROOT

LOCKS = Path(__file__).parent / "peers"
ENVIRONMENTS = ROOT / ".venv-bench"
INSTALL_SECONDS = 600


def environment_of(peer: str) -> Path:
    """The folder with the peer's programs, installed when its lock file is another than before."""
    lock, venv = LOCKS / f"{peer}.lock", ENVIRONMENTS / peer
    stamp, wanted = venv / ".installed", hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(venv, ignore_errors=True)
        _install(lock, venv)
        stamp.write_text(wanted)
    return venv / "bin"


def _install(lock: Path, venv: Path) -> None:
    uv = shutil.which("uv")
    if uv is not None:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(venv))
        install = [uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]
    else:
        _run(sys.executable, "-m", "venv", str(venv))
        install = [str(venv / "bin" / "python"), "-m", "pip", "install", "-qq"]
    _run(*install, "--no-deps", "--require-hashes", "-r", str(lock))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS)


def locked_versions(peer: str, *packages: str) -> dict[str, str]:
    """What the lock file pins them to."""
    pinned = dict(
        line.split(";")[0].rstrip(" \\").split("==")
        for line in (LOCKS / f"{peer}.lock").read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    )
    return {each: pinned[each].strip() for each in packages}
