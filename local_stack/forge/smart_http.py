"""Git's smart HTTP protocol (gitprotocol-http): the framing around `git upload-pack` and
`git receive-pack`.

Packs are never held in memory: what a push sends goes straight to git, and what a fetch gets
comes straight from it.
"""

from __future__ import annotations

import asyncio
import zlib
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from idp_kernel.errors import InvalidInput, Unavailable
from local_stack.forge.pushes import CALLER_VARIABLE
from local_stack.forge.repositories import hook_variables
from local_stack.git import Git

PUSH_LIMIT_BYTES = 512 * 1024 * 1024
"""The largest push; a fetch's request is a list of commits and far smaller."""
FETCH_REQUEST_LIMIT_BYTES = 16 * 1024 * 1024
REPORT_LIMIT_BYTES = 4 * 1024 * 1024
"""The largest answer to a push: progress, remarks of the hooks and one line for each ref."""
EXCHANGE_TIMEOUT_SECONDS = 600.0
_STOP_TIMEOUT_SECONDS = 5.0
_CHUNK_BYTES = 64 * 1024
_FLUSH = b"0000"
VERSION_TWO = "version=2"
"""What a client says in `Git-Protocol` when it can do version 2."""


class GitService(StrEnum):
    """The two halves of the protocol."""

    UPLOAD_PACK = "git-upload-pack"
    RECEIVE_PACK = "git-receive-pack"


@dataclass(frozen=True)
class Exchange:
    """One call to a git service: on which repository, by whom, in which protocol version."""

    service: GitService
    repository: Path
    caller: str
    protocol: str | None = None

    @property
    def variables(self) -> Mapping[str, str]:
        variables = {CALLER_VARIABLE: self.caller, **hook_variables()}
        variables["GIT_COMMITTER_NAME"] = self.caller
        variables["GIT_COMMITTER_EMAIL"] = "git@users.idp.invalid"
        if self.version_two:
            variables["GIT_PROTOCOL"] = VERSION_TWO
        return variables

    @property
    def version_two(self) -> bool:
        """Only fetches have a version 2; a push that asks for it gets the only one there is."""
        return self.service is GitService.UPLOAD_PACK and self.protocol == VERSION_TWO


class SmartHttp:
    """Runs the git services."""

    def __init__(self, git: Git, hooks: Path) -> None:
        self._git = git
        self._configuration = {"core.hooksPath": str(hooks)}

    async def advertise(self, exchange: Exchange) -> bytes:
        """What a client asks for first: the refs, or the capabilities of version 2."""
        async with self._process(exchange, "--advertise-refs") as process:
            advertisement, _ = await process.communicate()
        if exchange.version_two:
            return advertisement
        return _packet(f"# service={exchange.service}\n") + _FLUSH + advertisement

    async def upload(self, exchange: Exchange, request: bytes) -> AsyncIterator[bytes]:
        """What a fetch gets, in pieces."""
        async with self._process(exchange) as process:
            feeding = asyncio.create_task(_feed(process, _once(request)))
            try:
                assert process.stdout is not None  # noqa: S101 - narrows for mypy; it is a pipe
                while chunk := await process.stdout.read(_CHUNK_BYTES):
                    yield chunk
            finally:
                feeding.cancel()
                with suppress(asyncio.CancelledError):
                    await feeding

    async def receive(self, exchange: Exchange, body: AsyncIterable[bytes]) -> bytes:
        """The report on a push, after all of it was read."""
        async with self._process(exchange) as process:
            report = asyncio.create_task(_read_report(process))
            try:
                await _feed(process, body)
                return await report
            finally:
                report.cancel()

    @asynccontextmanager
    async def _process(self, exchange: Exchange, *options: str) -> AsyncIterator[Process]:
        """The git process of an exchange; it never outlives it."""
        process = await asyncio.create_subprocess_exec(
            self._git.program,
            exchange.service.value.removeprefix("git-"),
            "--stateless-rpc",
            *options,
            str(exchange.repository),
            stdin=PIPE,
            stdout=PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env=self._git.environment(exchange.variables, self._configuration),
        )
        try:
            async with asyncio.timeout(EXCHANGE_TIMEOUT_SECONDS):
                yield process
                await process.wait()
        except TimeoutError as error:
            raise Unavailable(
                f"{exchange.service} took longer than {EXCHANGE_TIMEOUT_SECONDS:g} s.",
                code="git_timeout",
            ) from error
        finally:
            await asyncio.shield(_end(process))


async def inflate(body: AsyncIterable[bytes], limit_bytes: int) -> AsyncIterator[bytes]:
    """A gzip body unpacked piece by piece; `InvalidInput` for what is none or grows too large."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    size = 0
    async for chunk in body:
        packed = chunk
        while packed:
            try:
                piece = unpacker.decompress(packed, _CHUNK_BYTES)
            except zlib.error as error:
                raise InvalidInput("The body is no gzip data.", code="malformed_gzip") from error
            if unpacker.unused_data:
                raise InvalidInput("Bytes follow the gzip data.", code="malformed_gzip")
            packed = unpacker.unconsumed_tail
            size += len(piece)
            if size > limit_bytes:
                raise InvalidInput("The unpacked body is too large.", code="body_too_large")
            if piece:
                yield piece
    if not unpacker.eof:
        raise InvalidInput("The gzip data ends too soon.", code="malformed_gzip")


async def collect(body: AsyncIterable[bytes], limit_bytes: int) -> bytes:
    """A small body, whole; `InvalidInput` when it is not small."""
    collected = bytearray()
    async for chunk in body:
        collected += chunk
        if len(collected) > limit_bytes:
            raise InvalidInput("The body is larger than allowed here.", code="body_too_large")
    return bytes(collected)


def _packet(line: str) -> bytes:
    """A pkt-line: its length, itself included, in four hexadecimal digits, then the line."""
    return f"{len(line) + 4:04x}{line}".encode()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _feed(process: Process, body: AsyncIterable[bytes]) -> None:
    """Give git the body and close; git may stop listening before the end, the rest is dropped."""
    assert process.stdin is not None  # noqa: S101 - narrows for mypy; it is a pipe
    listening = True
    async for chunk in body:
        if not listening:
            continue
        try:
            process.stdin.write(chunk)
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            listening = False
    process.stdin.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.wait_closed()


async def _read_report(process: Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - narrows for mypy; it is a pipe
    report = bytearray()
    while chunk := await process.stdout.read(_CHUNK_BYTES):
        if len(report) < REPORT_LIMIT_BYTES:
            report += chunk
    return bytes(report)


async def _end(process: Process) -> None:
    """Stop a process that is still there: the client went away, or time ran out."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
