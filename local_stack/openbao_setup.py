"""Initialise OpenBao and let in whom it serves: `python -m local_stack.openbao_setup`.

Repeating it changes nothing. The root token and recovery keys are written once, to
`openbao-init.json`; AppRole credentials of execution-workers to `openbao-workers.json`, those of
the local consumer to `openbao-consumer.json`. People come in with a login that the control plane
signed; which team's secrets it opens is said by roles that execution-workers write.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from idp_kernel.errors import Conflict, InvariantBroken, PlatformError, Unavailable
from idp_kernel.secret_store import PEOPLE_MOUNT, SECRETS_MOUNT
from idp_kernel.services import LOOPBACK
from idp_kernel.settings import read_settings
from idp_kernel.tokens import ISSUER, STORE_LOGIN_ALGORITHM, SigningKey
from local_stack.secret_files import write_secret
from local_stack.store_settings import OpenBaoSetupSettings

READY_TIMEOUT_SECONDS: Final = 60.0
CALL_TIMEOUT_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05

WORKERS_POLICY_HCL = """\
# Secrets of the teams: the workers write values, and read back what they wrote to prove it.
path "kv/data/teams/*" {
  capabilities = ["create", "read", "update"]
}

# The end of a rotation: versions that are retired.
path "kv/destroy/teams/*" {
  capabilities = ["update"]
}
path "kv/delete/teams/*" {
  capabilities = ["update"]
}

# Who owns a secret; deleting it is the undo of its creation.
path "kv/metadata/teams/*" {
  capabilities = ["create", "read", "update", "delete"]
}

# Each team's own policies, and the roles that give them to its people.
path "sys/policies/acl/team-*" {
  capabilities = ["create", "read", "update"]
}
path "auth/jwt/role/team-*" {
  capabilities = ["create", "read", "update"]
}
"""
CONSUMER_POLICY_HCL = """\
# The local consumer stands for every application: it reads what bindings name, and writes nothing.
path "kv/data/teams/+/appenv/+/+" {
  capabilities = ["read"]
}
"""


@dataclass(frozen=True)
class AppRole:
    """A program that logs in to the store, and what it may do there."""

    name: str
    policy: str
    policy_hcl: str
    credentials_file_name: str

    @property
    def path(self) -> str:
        return f"auth/approle/role/{self.name}"


WORKERS = AppRole(
    name="execution-workers",
    policy="idp-workers",
    policy_hcl=WORKERS_POLICY_HCL,
    credentials_file_name="openbao-workers.json",
)
CONSUMER = AppRole(
    name="local-consumer",
    policy="local-consumer",
    policy_hcl=CONSUMER_POLICY_HCL,
    credentials_file_name="openbao-consumer.json",
)
APP_ROLES = (WORKERS, CONSUMER)
ROLE_SETTINGS = {
    "token_ttl": "20m",
    "token_max_ttl": "1h",
    "secret_id_ttl": "0",
    "secret_id_num_uses": 0,
}


@dataclass(frozen=True)
class OpenBaoAddress:
    """A local server and the directory with its keys."""

    port: int
    keys_dir: Path

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def init_file(self) -> Path:
        """JSON with `root_token` and `recovery_keys`."""
        return self.keys_dir / "openbao-init.json"

    @property
    def initialising_file(self) -> Path:
        """Stands from before the initialisation until its root token is kept."""
        return self.keys_dir / "openbao-initialising"

    @property
    def lost_its_root_token(self) -> bool:
        """Whether an initialisation was cut off, so that the store holds nothing and never will."""
        return self.initialising_file.exists() and not self.init_file.exists()

    @property
    def workers_file(self) -> Path:
        """JSON with `role_id` and `secret_id`."""
        return self.credentials_file(WORKERS)

    @property
    def consumer_file(self) -> Path:
        """JSON with `role_id` and `secret_id`."""
        return self.credentials_file(CONSUMER)

    def credentials_file(self, role: AppRole) -> Path:
        return self.keys_dir / role.credentials_file_name


def main() -> None:
    """Set up the server that the environment names."""
    settings = read_settings(OpenBaoSetupSettings)
    try:
        login_key = SigningKey.read(settings.login_key_file)
        ensure_set_up(OpenBaoAddress(settings.port, settings.keys_dir.absolute()), login_key)
    except PlatformError as error:
        raise SystemExit(error.message) from error
    sys.stdout.write(f"OpenBao on port {settings.port}: unsealed, mounts and roles are in place\n")


def ensure_set_up(
    address: OpenBaoAddress,
    login_key: SigningKey,
    *,
    timeout_seconds: float = READY_TIMEOUT_SECONDS,
) -> None:
    """Bring the server from wherever it is to initialised, active and ready for whom it serves.

    People's logins count when `login_key` signed them; the server gets its public half. Raises
    `Unavailable` when the server does not become so in time.
    """
    deadline = time.monotonic() + timeout_seconds
    with closing(_Api(address.url)) as api:
        if not _wait_whether_initialised(api, deadline):
            _initialise(api, address)
        api.token = _root_token(address)
        address.initialising_file.unlink(missing_ok=True)
        _wait_until_active(api, deadline)
        _ensure_kv(api, deadline)
        methods = api.call("GET", "sys/auth")["data"]
        _ensure_auth_method(api, methods, "approle")
        for role in APP_ROLES:
            _ensure_app_role(api, role)
            _ensure_credentials(api, role, address.credentials_file(role))
        _ensure_auth_method(api, methods, PEOPLE_MOUNT)
        _trust_logins(api, login_key)


class _Api:
    """OpenBao's HTTP API as far as the setup needs it."""

    def __init__(self, url: str) -> None:
        self.token: str | None = None
        self._client = httpx.Client(
            base_url=f"{url}/v1/", timeout=CALL_TIMEOUT_SECONDS, trust_env=False
        )

    def send(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> httpx.Response:
        headers = {"X-Vault-Token": self.token} if self.token else {}
        return self._client.request(method, path, json=body, headers=headers)

    def call(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """The decoded answer; raises `Unavailable` when OpenBao refuses or is away."""
        try:
            response = self.send(method, path, body)
        except httpx.TransportError as error:
            raise Unavailable(
                f"OpenBao gave no answer to {method} {path}: {type(error).__name__}",
                code="unreachable",
            ) from error
        if response.is_error:
            raise Unavailable(
                f"OpenBao answered {response.status_code} to {method} {path}: {_errors(response)}",
                code="openbao_refused",
            )
        return response.json() if response.content else {}

    def close(self) -> None:
        self._client.close()


def _errors(response: httpx.Response) -> str:
    try:
        return "; ".join(response.json().get("errors", []))
    except ValueError:
        return "no reason given"


def _wait_whether_initialised(api: _Api, deadline: float) -> bool:
    while True:
        try:
            return bool(api.call("GET", "sys/init")["initialized"])
        except Unavailable as error:
            _check_deadline(deadline, error.message)
        time.sleep(_POLL_SECONDS)


def _initialise(api: _Api, address: OpenBaoAddress) -> None:
    write_secret(address.initialising_file, b"")
    answer = api.call("PUT", "sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
    kept = {"root_token": answer["root_token"], "recovery_keys": answer["recovery_keys_base64"]}
    write_secret(address.init_file, json.dumps(kept, indent=2).encode())


def _root_token(address: OpenBaoAddress) -> str:
    if address.lost_its_root_token:
        raise Conflict(
            "OpenBao's initialisation was cut off before its root token was kept. "
            "Stop OpenBao and start it again: it then begins anew, and nothing is lost.",
            code="root_token_missing",
        )
    if not address.init_file.exists():
        raise Conflict(
            f"OpenBao is initialised, but {address.init_file} with its root token is not there. "
            "Bring the file back, or stop OpenBao and remove its data directory to begin anew.",
            code="root_token_missing",
        )
    return str(json.loads(address.init_file.read_bytes())["root_token"])


def _wait_until_active(api: _Api, deadline: float) -> None:
    """200 of `sys/health`; 429 is a standby, 501 not initialised, 503 sealed."""
    while True:
        try:
            status = api.send("GET", "sys/health").status_code
        except httpx.TransportError:
            status = 0
        if status == 200:
            return
        _check_deadline(deadline, f"sys/health answers {status}")
        time.sleep(_POLL_SECONDS)


def _ensure_kv(api: _Api, deadline: float) -> None:
    mount = api.call("GET", "sys/mounts")["data"].get(f"{SECRETS_MOUNT}/")
    if mount is None:
        api.call("POST", f"sys/mounts/{SECRETS_MOUNT}", {"type": "kv", "options": {"version": "2"}})
    elif mount["type"] != "kv" or (mount["options"] or {}).get("version") != "2":
        raise InvariantBroken(f"OpenBao's mount {SECRETS_MOUNT}/ is no KV version 2 store.")
    # A fresh mount refuses for a moment, while it makes itself versioned.
    while api.send("GET", f"{SECRETS_MOUNT}/config").is_error:
        _check_deadline(deadline, f"the mount {SECRETS_MOUNT}/ is not ready")
        time.sleep(_POLL_SECONDS)


def _ensure_auth_method(api: _Api, methods: Mapping[str, object], kind: str) -> None:
    if f"{kind}/" not in methods:
        api.call("POST", f"sys/auth/{kind}", {"type": kind})


def _ensure_app_role(api: _Api, role: AppRole) -> None:
    api.call("PUT", f"sys/policies/acl/{role.policy}", {"policy": role.policy_hcl})
    api.call("POST", role.path, {**ROLE_SETTINGS, "token_policies": [role.policy]})


def _ensure_credentials(api: _Api, role: AppRole, file: Path) -> None:
    """Credentials that work stay; otherwise new ones take their place and old ones end."""
    if file.exists():
        kept = json.loads(file.read_bytes())
        if api.send("POST", "auth/approle/login", kept).is_success:
            return
    for accessor in _secret_id_accessors(api, role):
        body = {"secret_id_accessor": accessor}
        api.call("POST", f"{role.path}/secret-id-accessor/destroy", body)
    role_id = api.call("GET", f"{role.path}/role-id")["data"]["role_id"]
    secret_id = api.call("POST", f"{role.path}/secret-id", {})["data"]["secret_id"]
    write_secret(file, json.dumps({"role_id": role_id, "secret_id": secret_id}, indent=2).encode())


def _secret_id_accessors(api: _Api, role: AppRole) -> list[str]:
    response = api.send("LIST", f"{role.path}/secret-id")
    return list(response.json()["data"]["keys"]) if response.is_success else []


def _trust_logins(api: _Api, login_key: SigningKey) -> None:
    """Logins signed with any other key, or in another's name, are refused from here on."""
    configuration = {
        "jwt_validation_pubkeys": [login_key.public_pem],
        "jwt_supported_algs": [STORE_LOGIN_ALGORITHM],
        "bound_issuer": ISSUER,
    }
    api.call("POST", f"auth/{PEOPLE_MOUNT}/config", configuration)


def _check_deadline(deadline: float, found: str) -> None:
    if time.monotonic() > deadline:
        raise Unavailable(
            f"OpenBao was not ready in time: {found}. Look at its log.", code="openbao_not_ready"
        )


if __name__ == "__main__":
    main()
