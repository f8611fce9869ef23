"""Which of the applied secrets are database logins that the consumer may use."""

from __future__ import annotations

import pytest

from idp_kernel.wire.agent import AppliedSecret, Reconciliation, Reconciliations
from local_stack.consumer.bindings import Binding, BindingKey, database_bindings

PROPERTIES = ("host", "port", "database", "username", "password")


def applied(
    name: str = "orders-db",
    path: str = "teams/payments/apps/shop/dev/orders-db",
    version: int | None = 3,
    properties: tuple[str, ...] = PROPERTIES,
) -> AppliedSecret:
    return AppliedSecret(name=name, remote_key=path, version=version, properties=properties)


def listed(*secrets: AppliedSecret, owner: str = "payments") -> Reconciliations:
    seen = Reconciliation(
        owner=owner,
        name="appenv-1",
        observed_revision=None,
        conditions=(),
        applied_secrets=secrets,
    )
    return Reconciliations(items=(seen,))


def test_a_login_is_found_with_what_it_pins() -> None:
    key = BindingKey("payments", "appenv-1", "orders-db")
    wanted = Binding(key, "teams/payments/apps/shop/dev/orders-db", 3)
    assert database_bindings(listed(applied())) == {key: wanted}


@pytest.mark.parametrize(
    "secret",
    [
        applied(version=None),
        applied(version=0),
        applied(properties=("value",)),
        applied(properties=("username", "host")),
        applied(path="teams/search/apps/find/dev/orders-db"),
        applied(path="teams/payments"),
        applied(path="teams/payments/"),
        applied(path="teams/payments/../search/orders-db"),
        applied(path="teams/payments/..%2fsearch"),
        applied(path="teams/payments//orders-db"),
        applied(path="teams/payments/orders-db?version=1"),
        applied(path="teams/payments/orders-db\n"),
        applied(path="platform/root"),
    ],
)
def test_what_it_cannot_or_may_not_use_is_left_out(secret: AppliedSecret) -> None:
    assert database_bindings(listed(secret)) == {}


def test_bindings_stand_in_the_order_of_their_keys() -> None:
    found = database_bindings(listed(applied("orders-db"), applied("audit-db")))
    assert [key.name for key in found] == ["audit-db", "orders-db"]
