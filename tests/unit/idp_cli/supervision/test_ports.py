from __future__ import annotations

import dataclasses
import os
import socket

import pytest

from idp_cli.supervision.ports import LARGEST_OFFSET, holder_of, is_free, shifted_ports
from idp_kernel.errors import InvalidInput
from idp_kernel.services import DEFAULT_PORTS
from tests.fixtures.stack import free_port


def test_every_port_is_shifted_by_the_same_amount() -> None:
    shifted = dataclasses.asdict(shifted_ports(100))
    for name, port in dataclasses.asdict(DEFAULT_PORTS).items():
        assert shifted[name] == port + 100


@pytest.mark.parametrize("offset", [-1, LARGEST_OFFSET + 1])
def test_no_port_leaves_the_range(offset: int) -> None:
    with pytest.raises(InvalidInput, match="port offset"):
        shifted_ports(offset)
    assert max(dataclasses.astuple(shifted_ports(LARGEST_OFFSET))) == 65535


def test_a_taken_port_and_its_holder_are_told() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert str(os.getpid()) in holder_of(port)
    assert is_free(port)


def test_a_port_taken_on_all_addresses_is_taken() -> None:
    with socket.create_server(("", 0)) as server:
        assert not is_free(server.getsockname()[1])
