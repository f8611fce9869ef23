"""Log files of the supervisor: rotation, and what a full disk makes of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from supervisor import loggers

from idp_cli.supervision.log_files import EnduringLogger, EnduringStream
from tests.fixtures.full_disk import FULL

LONGEST = 100
KEPT = 2


def new_logger(path: Path, fmt: str = "%(message)s") -> EnduringLogger:
    """As supervisor makes one, with a file that is as long as `LONGEST` at most."""
    logger = EnduringLogger()
    loggers.handle_file(logger, str(path), fmt, rotating=True, maxbytes=LONGEST, backups=KEPT)
    return logger


def test_output_is_kept_as_it_came_and_messages_in_their_form(tmp_path: Path) -> None:
    output, own = tmp_path / "output", tmp_path / "own"
    new_logger(output).info(b"\xff%s\n")
    new_logger(own, "%(levelname)s %(message)s\n").warn("ended %(name)s", name="daemon")
    assert output.read_bytes() == b"\xff%s\n"
    assert own.read_text() == "WARN ended daemon\n"


def test_a_long_file_is_begun_anew_and_some_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "output"
    logger = new_logger(path)
    for mark in (b"1", b"2", b"3", b"4"):
        logger.info(mark * LONGEST)
    logger.info(b"5")
    found = {each.name: each.read_bytes()[:1] for each in tmp_path.iterdir()}
    assert found == {"output": b"5", "output.1": b"4", "output.2": b"3"}


def test_what_a_full_disk_does_not_take_is_lost_and_said(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.symlink_to(FULL)
    logger = new_logger(path)
    logger.info(b"12345")
    logger.info(b"678")
    (handler,) = logger.handlers
    handler.remove()
    logger.info(b"here again\n")
    logger.info(b"and on\n")
    assert path.read_text().splitlines() == [
        "",
        "supervisor: 8 bytes were lost here: [Errno 28] No space left on device",
        "here again",
        "and on",
    ]


def test_what_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    logger = new_logger(folder / "output")
    folder.rename(tmp_path / "away")
    logger.info(b"lost")
    (tmp_path / "away").rename(folder)
    logger.info(b"found\n")
    told = (folder / "output").read_text()
    assert "4 bytes were lost here" in told
    assert told.endswith("found\n")


def test_standard_error_on_a_full_disk_raises_nothing(tmp_path: Path) -> None:
    with FULL.open("w") as stream, (tmp_path / "err").open("w") as roomy:
        print("a traceback", file=EnduringStream(stream))
        with pytest.raises(OSError, match="No space"):
            stream.flush()
        os.dup2(roomy.fileno(), stream.fileno())
        print("another", file=EnduringStream(stream))
    assert (tmp_path / "err").read_text() == "a traceback\nanother\n"
