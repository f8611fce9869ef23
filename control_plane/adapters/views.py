"""What a command answers with, read in its own transaction."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import Connection

from control_plane.adapters.application_views import appenv_view, application_view
from control_plane.adapters.secret_views import binding_view, secret_view
from idp_kernel.errors import InvariantBroken
from idp_kernel.wire import api as wire

View = TypeVar("View")


class SqlViews:
    """Things that are there, as they are shown, with what this transaction has changed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def application(self, application_id: str) -> wire.Application:
        return _there(application_view(self._connection, application_id), application_id)

    def application_environment(self, id_: str) -> wire.ApplicationEnvironment:
        return _there(appenv_view(self._connection, id_), id_)

    def secret(self, secret_id: str) -> wire.Secret:
        return _there(secret_view(self._connection, secret_id), secret_id)

    def secret_binding(self, binding_id: str) -> wire.SecretBinding:
        return _there(binding_view(self._connection, binding_id), binding_id)


def _there(shown: View | None, id_: str) -> View:
    if shown is None:
        raise InvariantBroken(f"{id_} was there and cannot be shown")
    return shown
