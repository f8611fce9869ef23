"""Every program of the embedded default: with exactly which settings, in which order, and when it
counts as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from idp_cli.supervision.home import Home
from idp_cli.supervision.keys import (
    AGENT_READER_TOKEN,
    CONTROL_PLANE_KEY,
    FORGE_AGENT_TOKEN,
    FORGE_BOT_TOKEN,
    SERVICES_JWKS,
    service_key_file,
)
from idp_cli.supervision.programs import Group, Program, python_module
from idp_cli.supervision.readiness import HasEnded, HasLogged, Listens, SaysReady
from idp_kernel.services import LOOPBACK, DefaultPorts, ServiceName

DAEMON_LOOKS_FOR_WORK = "Checking for new runs for sensor: workflow_requests_sensor"
"""What Dagster's daemon logs when it first asks for requests."""
WORKER_CAN_TAKE_RUNS = "child_ready"
"""What a warm worker logs when it has everything loaded and connected."""

ENGINE_SETTINGS = "idp_dagster.settings:EngineSettings"

DATABASE_OF_ROLE: dict[str, str] = {
    "control_plane": "idp",
    "ledger": "idp",
    "dagster": "dagster",
    "credential_issuer": "applications",
}
"""Each part has a role of its own, and what it works in."""

Settings = Mapping[str, str | int]


@dataclass(frozen=True)
class Embedded:
    """The programs of one home on one set of ports."""

    home: Home
    ports: DefaultPorts
    otlp_endpoint: str | None = None
    """The collector that every process sends its spans to."""
    installation_id: str | None = None
    """In place of the home's own, which is made when it is first asked for."""

    def programs(self) -> tuple[Program, ...]:
        """All of them, each after those it needs."""
        return (
            self._postgres(),
            self._openbao(),
            self._postgres_setup(),
            self._openbao_setup(),
            self._control_plane_bootstrap(),
            self._execution_workers_bootstrap(),
            self._engine_bootstrap(),
            self._control_plane(),
            self._forge(),
            self._execution_workers(),
            self._agent(),
            self._consumer(),
            self._code_server(),
            self._daemon(),
            self._worker(),
            self._webserver(),
            self._exporter(),
        )

    # ------------------------------------------------------------------ stores

    @property
    def _postgres_set(self) -> Settings:
        return {
            "IDP_POSTGRES_DATA_DIR": self._folder("postgres"),
            "IDP_POSTGRES_PORT": self.ports.postgres,
            "IDP_POSTGRES_KEYS_DIR": str(self.home.keys),
        }

    def _postgres(self) -> Program:
        return Program(
            name="postgres",
            command=python_module("local_stack.postgres"),
            group=Group.STORES,
            readiness=Listens(self.ports.postgres),
            settings=self._postgres_set,
            settings_class="local_stack.store_settings:PostgresSettings",
            port=self.ports.postgres,
            stop_signal="INT",  # fast shutdown: TERM would wait for every client to leave
            stop_seconds=20,
        )

    def _postgres_setup(self) -> Program:
        return _set_up(
            "postgres-setup",
            "local_stack.postgres_setup",
            self._postgres_set,
            "local_stack.store_settings:PostgresSetupSettings",
            "postgres",
        )

    @property
    def _openbao_set(self) -> Settings:
        return {
            "IDP_OPENBAO_DATA_DIR": self._folder("openbao"),
            "IDP_OPENBAO_PORT": self.ports.openbao,
            "IDP_OPENBAO_CLUSTER_PORT": self.ports.openbao_cluster,
            "IDP_OPENBAO_KEYS_DIR": str(self.home.keys),
        }

    def _openbao(self) -> Program:
        return Program(
            name="openbao",
            command=python_module("local_stack.openbao"),
            group=Group.STORES,
            readiness=Listens(self.ports.openbao),
            settings=self._openbao_set,
            settings_class="local_stack.store_settings:OpenBaoSettings",
            port=self.ports.openbao,
            stop_seconds=20,
        )

    def _openbao_setup(self) -> Program:
        settings: Settings = {
            **self._openbao_set,
            "IDP_OPENBAO_LOGIN_KEY_FILE": self._key(CONTROL_PLANE_KEY),
        }
        return _set_up(
            "openbao-setup",
            "local_stack.openbao_setup",
            settings,
            "local_stack.store_settings:OpenBaoSetupSettings",
            "openbao",
        )

    # ---------------------------------------------------------------- services

    @property
    def _control_plane_set(self) -> Settings:
        return {
            "IDP_CONTROL_PLANE_PORT": self.ports.control_plane_api,
            "IDP_CONTROL_PLANE_DATABASE_URL": self._database("control_plane"),
            "IDP_CONTROL_PLANE_SIGNING_KEY_FILE": self._key(CONTROL_PLANE_KEY),
            "IDP_CONTROL_PLANE_SERVICE_KEYS_FILE": self._key(SERVICES_JWKS),
            "IDP_CONTROL_PLANE_ADMIN_TOKEN_FILE": str(self.home.admin_token),
            "IDP_CONTROL_PLANE_SECRET_STORE_URL": _url(self.ports.openbao),
            **self._traces("IDP_CONTROL_PLANE_"),
        }

    def _control_plane_bootstrap(self) -> Program:
        return _set_up(
            "control-plane-bootstrap",
            "control_plane.bootstrap",
            self._control_plane_set,
            "control_plane.settings:BootstrapSettings",
            "postgres-setup",
        )

    def _control_plane(self) -> Program:
        return _server(
            ServiceName.CONTROL_PLANE_API,
            "control_plane.main",
            self.ports.control_plane_api,
            self._control_plane_set,
            "control_plane.settings:ControlPlaneSettings",
            after=("control-plane-bootstrap",),
        )

    @property
    def _execution_workers_set(self) -> Settings:
        return {
            "IDP_EXECUTION_WORKERS_PORT": self.ports.execution_workers,
            "IDP_EXECUTION_WORKERS_DATABASE_URL": self._database("ledger"),
            "IDP_EXECUTION_WORKERS_INSTALLATION_ID": (
                self.installation_id or self.home.installation_id()
            ),
            "IDP_EXECUTION_WORKERS_CONTROL_PLANE_URL": _url(self.ports.control_plane_api),
            "IDP_EXECUTION_WORKERS_FORGE_URL": _url(self.ports.local_forge),
            "IDP_EXECUTION_WORKERS_FORGE_TOKEN_FILE": self._key(FORGE_BOT_TOKEN),
            "IDP_EXECUTION_WORKERS_OPENBAO_URL": _url(self.ports.openbao),
            "IDP_EXECUTION_WORKERS_OPENBAO_APPROLE_FILE": self._key("openbao-workers.json"),
            "IDP_EXECUTION_WORKERS_POSTGRES_ISSUER_URL": self._database("credential_issuer"),
            "IDP_EXECUTION_WORKERS_GITOPS_AGENT_URL": _url(self.ports.local_gitops_agent),
            "IDP_EXECUTION_WORKERS_GITOPS_AGENT_TOKEN_FILE": self._key(AGENT_READER_TOKEN),
            **self._traces("IDP_EXECUTION_WORKERS_"),
        }

    def _execution_workers_bootstrap(self) -> Program:
        return _set_up(
            "execution-workers-bootstrap",
            "execution_workers.bootstrap",
            self._execution_workers_set,
            "execution_workers.settings:LedgerSettings",
            "postgres-setup",
        )

    def _execution_workers(self) -> Program:
        return _server(
            ServiceName.EXECUTION_WORKERS,
            "execution_workers.main",
            self.ports.execution_workers,
            self._execution_workers_set,
            "execution_workers.settings:ExecutionWorkersSettings",
            after=("execution-workers-bootstrap", "openbao-setup"),
        )

    def _forge(self) -> Program:
        settings: Settings = {
            "IDP_LOCAL_FORGE_DATA_DIR": self._folder("forge"),
            "IDP_LOCAL_FORGE_PORT": self.ports.local_forge,
            "IDP_LOCAL_FORGE_CONTROL_PLANE_URL": _url(self.ports.control_plane_api),
            "IDP_LOCAL_FORGE_SERVICE_KEY_FILE": self._key(
                service_key_file(ServiceName.LOCAL_FORGE)
            ),
            "IDP_LOCAL_FORGE_BOT_TOKEN_FILE": self._key(FORGE_BOT_TOKEN),
            "IDP_LOCAL_FORGE_AGENT_TOKEN_FILE": self._key(FORGE_AGENT_TOKEN),
            **self._traces("IDP_LOCAL_FORGE_"),
        }
        return _server(
            ServiceName.LOCAL_FORGE,
            "local_stack.forge",
            self.ports.local_forge,
            settings,
            "local_stack.forge.settings:ForgeSettings",
            after=("postgres-setup",),
        )

    def _agent(self) -> Program:
        settings: Settings = {
            "IDP_LOCAL_GITOPS_AGENT_DATA_DIR": self._folder("agent"),
            "IDP_LOCAL_GITOPS_AGENT_PORT": self.ports.local_gitops_agent,
            "IDP_LOCAL_GITOPS_AGENT_FORGE_URL": _url(self.ports.local_forge),
            "IDP_LOCAL_GITOPS_AGENT_FORGE_TOKEN_FILE": self._key(FORGE_AGENT_TOKEN),
            "IDP_LOCAL_GITOPS_AGENT_READER_TOKEN_FILE": self._key(AGENT_READER_TOKEN),
            **self._traces("IDP_LOCAL_GITOPS_AGENT_"),
        }
        return _server(
            ServiceName.LOCAL_GITOPS_AGENT,
            "local_stack.agent",
            self.ports.local_gitops_agent,
            settings,
            "local_stack.agent.settings:AgentSettings",
            after=("postgres-setup",),
        )

    def _consumer(self) -> Program:
        settings: Settings = {
            "IDP_LOCAL_CONSUMER_PORT": self.ports.local_consumer,
            "IDP_LOCAL_CONSUMER_AGENT_URL": _url(self.ports.local_gitops_agent),
            "IDP_LOCAL_CONSUMER_AGENT_TOKEN_FILE": self._key(AGENT_READER_TOKEN),
            "IDP_LOCAL_CONSUMER_OPENBAO_URL": _url(self.ports.openbao),
            "IDP_LOCAL_CONSUMER_OPENBAO_APPROLE_FILE": self._key("openbao-consumer.json"),
            "IDP_LOCAL_CONSUMER_READER_TOKEN_FILE": self._key(AGENT_READER_TOKEN),
            **self._traces("IDP_LOCAL_CONSUMER_"),
        }
        return _server(
            ServiceName.LOCAL_CONSUMER,
            "local_stack.consumer",
            self.ports.local_consumer,
            settings,
            "local_stack.consumer.settings:ConsumerSettings",
            after=("openbao-setup", ServiceName.LOCAL_GITOPS_AGENT.value),
        )

    # ------------------------------------------------------------------ engine

    @property
    def _engine_set(self) -> Settings:
        return {
            "DAGSTER_HOME": str(self.home.dagster),
            "IDP_ENGINE_CONTROL_PLANE_URL": _url(self.ports.control_plane_api),
            "IDP_ENGINE_WORKERS_URL": _url(self.ports.execution_workers),
            "IDP_ENGINE_SERVICE_KEY_FILE": self._key(service_key_file(ServiceName.WORKFLOW_ENGINE)),
            "IDP_ENGINE_DAGSTER_DATABASE_URL": self._dagster_database,
            "IDP_ENGINE_BROKER_URL": f"sqla+{self._database('dagster')}",
            "IDP_ENGINE_WEBSERVER_PORT": self.ports.dagster_webserver,
            "IDP_ENGINE_CODE_SERVER_PORT": self.ports.dagster_code_server,
            **self._traces("IDP_ENGINE_"),
        }

    def _engine_bootstrap(self) -> Program:
        return _set_up(
            "engine-bootstrap",
            "idp_dagster.bootstrap",
            self._engine_set,
            ENGINE_SETTINGS,
            "postgres-setup",
        )

    def _code_server(self) -> Program:
        return Program(
            name="code-server",
            command=python_module("idp_dagster.code_server"),
            group=Group.ENGINE,
            readiness=Listens(self.ports.dagster_code_server),
            settings=self._engine_set,
            settings_class=ENGINE_SETTINGS,
            after=("engine-bootstrap",),
            port=self.ports.dagster_code_server,
        )

    def _daemon(self) -> Program:
        return Program(
            name="daemon",
            command=python_module("idp_dagster.daemon"),
            group=Group.ENGINE,
            readiness=HasLogged(self.home.log_of("daemon"), DAEMON_LOOKS_FOR_WORK),
            settings=self._engine_set,
            settings_class=ENGINE_SETTINGS,
            after=("code-server", "control-plane-api"),
        )

    def _worker(self) -> Program:
        return Program(
            name="worker",
            command=python_module("idp_dagster.worker"),
            group=Group.ENGINE,
            readiness=HasLogged(self.home.log_of("worker"), WORKER_CAN_TAKE_RUNS),
            settings=self._engine_set,
            settings_class=ENGINE_SETTINGS,
            after=("engine-bootstrap",),
            stop_seconds=15,
        )

    def _webserver(self) -> Program:
        return Program(
            name="webserver",
            command=python_module("idp_dagster.webserver"),
            group=Group.ENGINE,
            readiness=SaysReady(self.ports.dagster_webserver, "/server_info"),
            settings=self._engine_set,
            settings_class=ENGINE_SETTINGS,
            after=("code-server",),
            port=self.ports.dagster_webserver,
        )

    def _exporter(self) -> Program:
        settings: Settings = {
            "DAGSTER_HOME": str(self.home.dagster),
            "IDP_ENGINE_DAGSTER_DATABASE_URL": self._dagster_database,
            "IDP_ENGINE_CONTROL_PLANE_URL": _url(self.ports.control_plane_api),
            "IDP_ENGINE_EXPORTER_KEY_FILE": self._key(
                service_key_file(ServiceName.METRICS_EXPORTER)
            ),
            "IDP_ENGINE_EXPORTER_PORT": self.ports.metrics_exporter,
            **self._traces("IDP_ENGINE_"),
        }
        return Program(
            name="exporter",
            command=python_module("idp_dagster.exporter"),
            group=Group.ENGINE,
            readiness=SaysReady(self.ports.metrics_exporter),
            settings=settings,
            settings_class="idp_dagster.settings:ExporterSettings",
            after=("engine-bootstrap", "control-plane-api"),
            port=self.ports.metrics_exporter,
        )

    # ----------------------------------------------------------- where things are

    def _traces(self, prefix: str) -> Settings:
        return {} if self.otlp_endpoint is None else {f"{prefix}OTLP_ENDPOINT": self.otlp_endpoint}

    @property
    def _dagster_database(self) -> str:
        return self._database("dagster", "psycopg2")

    def _key(self, name: str) -> str:
        return str(self.home.keys / name)

    def _folder(self, name: str) -> str:
        return str(self.home.root / name)

    def _database(self, role: str, driver: str = "psycopg") -> str:
        """A URL without a secret: it names the role's password file."""
        passfile = quote(str(self.home.passfile_of(role)))
        where = f"{LOOPBACK}:{self.ports.postgres}/{DATABASE_OF_ROLE[role]}"
        return f"postgresql+{driver}://{role}@{where}?passfile={passfile}"


def _set_up(name: str, module: str, settings: Settings, settings_class: str, after: str) -> Program:
    """A program that ends when its work is done."""
    return Program(
        name=name,
        command=python_module(module),
        group=Group.SETUP,
        readiness=HasEnded(),
        settings=settings,
        settings_class=settings_class,
        after=(after,),
    )


def _server(
    name: ServiceName,
    module: str,
    port: int,
    settings: Settings,
    settings_class: str,
    after: tuple[str, ...],
) -> Program:
    """One of our own HTTP servers."""
    return Program(
        name=name.value,
        command=python_module(module),
        group=Group.SERVICES,
        readiness=SaysReady(port),
        settings=settings,
        settings_class=settings_class,
        after=after,
        port=port,
    )


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"
