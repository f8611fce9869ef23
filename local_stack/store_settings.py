"""Where the local PostgreSQL and OpenBao keep their data and keys, and where they listen.

Each server and its set-up share a prefix, so that one set of variables serves both.
"""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.settings import Folder, Port, SecretFilePath, ServiceSettings, SettingsPrefix


class PostgresSetupSettings(ServiceSettings):
    """The server to set up and where its passwords are."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.POSTGRES)

    port: Port = DEFAULT_PORTS.postgres
    """The loopback port it listens on."""
    keys_dir: Folder
    """Where the roles' password files are, in `postgres/`."""


class PostgresSettings(PostgresSetupSettings):
    """What the server needs beside that."""

    data_dir: Folder
    """Where the cluster is kept."""


class OpenBaoAddressSettings(ServiceSettings):
    """What the server and its set-up share."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.OPENBAO)

    port: Port = DEFAULT_PORTS.openbao
    """The loopback port it listens on."""
    keys_dir: Folder
    """Where its seal key, root token and the services' logins are."""


class OpenBaoSettings(OpenBaoAddressSettings):
    """What the server needs beside that."""

    data_dir: Folder
    """Where the encrypted storage, the audit log and the server's configuration are."""
    cluster_port: Port = DEFAULT_PORTS.openbao_cluster
    """The loopback port for other nodes, of which there are none."""


class OpenBaoSetupSettings(OpenBaoAddressSettings):
    """What the set-up needs beside that."""

    login_key_file: SecretFilePath
    """The control plane's signing key (JWK); the store is told the public half, and no more."""
