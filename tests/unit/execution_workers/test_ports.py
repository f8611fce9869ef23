"""What holds a credential does not show it."""

from __future__ import annotations

from execution_workers.ports import StoredValue
from execution_workers.rotation import IssuedVersion


def test_a_credential_stands_in_no_representation() -> None:
    properties = {"username": "idp_x_a", "password": "hush"}
    for holder in (StoredValue(properties, "request"), IssuedVersion(2, properties, "request")):
        assert "hush" not in repr(holder)
        assert "request" in repr(holder)
