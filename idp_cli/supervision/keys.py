"""The keys and tokens of the embedded default, made once into `keys/`, all files 0600.

Each service signs with its own key; the control plane knows the public halves only. Parts that
need secrets of their own (PostgreSQL, OpenBao, the first admin) make them in their set-up.
"""

from __future__ import annotations

import json
import secrets
import stat
from pathlib import Path

from idp_kernel.services import SERVICE_SCOPES, ServiceName
from idp_kernel.tokens import SigningKey, write_private_file

CONTROL_PLANE_KEY = "control-plane.signing-key.json"
SERVICES_JWKS = "services.jwks.json"
FORGE_BOT_TOKEN = "forge-bot.token"
FORGE_AGENT_TOKEN = "forge-agent.token"
AGENT_READER_TOKEN = "gitops-agent-reader.token"
STATIC_TOKENS = (FORGE_BOT_TOKEN, FORGE_AGENT_TOKEN, AGENT_READER_TOKEN)
CONTROL_PLANE_KID = "control-plane-1"


def service_key_file(service: ServiceName) -> str:
    """The name of a service's private key."""
    return f"{service}.key.json"


def ensure_keys(folder: Path) -> int:
    """Makes what is missing in `folder`; answers how many files it made. Repeating makes none."""
    wanted = {CONTROL_PLANE_KEY: CONTROL_PLANE_KID}
    wanted |= {service_key_file(service): service.value for service in SERVICE_SCOPES}
    made = sum(_ensure_signing_key(folder / name, kid) for name, kid in wanted.items())
    made += sum(_ensure_token(folder / name) for name in STATIC_TOKENS)
    return made + _ensure_key_set(folder)


def readable_by_others(folder: Path) -> list[Path]:
    """The key files that somebody else on this machine could read or write."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077)


def _ensure_signing_key(path: Path, kid: str) -> int:
    if path.exists():
        return 0
    SigningKey.generate(kid).write(path)
    return 1


def _ensure_token(path: Path) -> int:
    if path.exists():
        return 0
    write_private_file(path, secrets.token_urlsafe(32))
    return 1


def _ensure_key_set(folder: Path) -> int:
    """The public halves; written anew when a service's key was."""
    keys = [
        SigningKey.read(folder / service_key_file(service)).public for service in SERVICE_SCOPES
    ]
    content = json.dumps({"keys": keys}, indent=2)
    path = folder / SERVICES_JWKS
    if path.exists() and path.read_text(encoding="utf-8") == content:
        return 0
    path.unlink(missing_ok=True)
    write_private_file(path, content)
    return 1
