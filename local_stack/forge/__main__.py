"""Starts the forge in the foreground: `python -m local_stack.forge`."""

from __future__ import annotations

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from idp_kernel.clock import SystemClock
from idp_kernel.errors import Unavailable
from idp_kernel.http.client import service_client
from idp_kernel.http.server import new_server
from idp_kernel.http.serving import serve
from idp_kernel.services import LOOPBACK, ServiceName
from idp_kernel.settings import read_settings
from idp_kernel.telemetry.export import JOIN_ONLY, configure_traces
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.tokens import SigningKey
from local_stack.forge.api import rest_routes
from local_stack.forge.authentication import Authentication, ControlPlaneIntrospection, Introspect
from local_stack.forge.git_routes import git_routes
from local_stack.forge.repositories import Repositories
from local_stack.forge.settings import ForgeSettings
from local_stack.forge.smart_http import PUSH_LIMIT_BYTES, SmartHttp
from local_stack.git import Git
from local_stack.secret_files import read_token

GIT_CONFIGURATION = {
    "core.logAllRefUpdates": "always",
    "core.fsync": "all",
    "gc.auto": "0",
    "receive.autogc": "false",
    "receive.fsckObjects": "true",
    "receive.maxInputSize": str(PUSH_LIMIT_BYTES),
    "uploadpack.allowFilter": "true",
}
INTROSPECTION_TIMEOUT_SECONDS = 5.0
DESCRIPTION = "Git repositories over smart HTTP, with platform tokens and branch protection."


def main() -> None:
    """Serve until a signal ends it."""
    settings = read_settings(ForgeSettings)
    configure_logs(ServiceName.LOCAL_FORGE, settings.log_level)
    traces = configure_traces(
        ServiceName.LOCAL_FORGE, settings.otlp_endpoint, ratio=JOIN_ONLY, env=settings.env
    )
    client = service_client(
        settings.control_plane_url,
        key=SigningKey.read(settings.service_key_file),
        service=ServiceName.LOCAL_FORGE,
        clock=SystemClock(),
        timeout_seconds=INTROSPECTION_TIMEOUT_SECONDS,
    )
    try:
        serve(
            create_app(settings, ControlPlaneIntrospection(client)),
            host=LOOPBACK,
            port=settings.port,
        )
    finally:
        client.close()
        traces.shutdown()


def create_app(settings: ForgeSettings, introspect: Introspect) -> FastAPI:
    """The forge, put together."""
    git = Git(GIT_CONFIGURATION)
    data_dir = settings.data_dir.absolute()
    repositories = Repositories(data_dir, git, SystemClock())
    authentication = Authentication(
        bot_token=read_token(settings.bot_token_file),
        agent_token=read_token(settings.agent_token_file),
        introspect=introspect,
    )

    def is_ready() -> None:
        if not data_dir.is_dir():
            raise Unavailable("The directory with the repositories is gone.", code="no_data")

    app = new_server(
        service=ServiceName.LOCAL_FORGE,
        env=settings.env,
        registry=CollectorRegistry(),
        is_ready=is_ready,
        description=DESCRIPTION,
    )
    app.include_router(
        rest_routes(
            repositories=repositories,
            authentication=authentication,
            git=git,
            port=settings.port,
        )
    )
    app.include_router(
        git_routes(
            repositories=repositories,
            authentication=authentication,
            smart_http=SmartHttp(git, repositories.hooks),
        )
    )
    return app


if __name__ == "__main__":
    main()
