"""Request bodies of git clients."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator

import pytest

from idp_kernel.errors import InvalidInput
from local_stack.forge.smart_http import collect, inflate

LIMIT = 1_000_000


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def unpacked(content: bytes, *, size: int = 1000, limit: int = LIMIT) -> bytes:
    return asyncio.run(collect(inflate(pieces(content, size), limit), LIMIT))


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("content", [b"", b"0000", os.urandom(5000), b"a" * 500_000])
def test_gzip_comes_out_as_it_went_in(content: bytes, size: int) -> None:
    assert unpacked(gzip.compress(content), size=size) == content


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"x" * 1000, mtime=0)[:-4]])
def test_what_is_no_whole_gzip_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput):
        unpacked(content)


@pytest.mark.parametrize("size", [1, 10**6])
@pytest.mark.parametrize("behind", [b"\0", gzip.compress(b"another", mtime=0)])
def test_what_follows_the_gzip_data_is_refused(behind: bytes, size: int) -> None:
    with pytest.raises(InvalidInput, match="follow"):
        unpacked(gzip.compress(b"0000", mtime=0) + behind, size=size)


def test_a_bomb_stops_at_the_limit() -> None:
    with pytest.raises(InvalidInput, match="too large"):
        unpacked(gzip.compress(b"\0" * 50_000_000, mtime=0), limit=100_000)


def test_a_body_that_shall_be_small_stays_small() -> None:
    assert asyncio.run(collect(pieces(b"x" * 10, 3), 10)) == b"x" * 10
    with pytest.raises(InvalidInput):
        asyncio.run(collect(pieces(b"x" * 11, 3), 10))
