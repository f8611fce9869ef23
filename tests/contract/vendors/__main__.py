"""`make contract`: has the suites of the providers run, and holds every request that they sent
against the vendor's own description. Ends with status 1 when one is not allowed or none was sent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.contract.vendors.mock import PRISM, mock_of
from tests.contract.vendors.vendors import (
    ROOT,
    SPECS_VARIABLE,
    SUITES,
    VENDORS,
    Vendor,
    descriptions_folder,
)
from tests.fixtures.vendors import CALLS_FILE, RECORD_VARIABLE, RecordedCall

NOT_FULFILLED = 2


@dataclass(frozen=True)
class Row:
    """All calls of one kind."""

    provider: str
    operation: str
    path: str
    """Of the first that is not allowed, or else of the first."""
    calls: int
    complaint: str | None
    is_described: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(prog="python -m tests.contract.vendors", description=__doc__)
    parser.add_argument("--present", action="store_true", help="leave out what has no description")
    parser.add_argument(
        "--recorded",
        type=Path,
        metavar="FOLDER",
        help=f"where the suites of {SUITES} have kept their calls; they are not run again",
    )
    wanted = parser.parse_args(arguments)
    missing = {each: lacking for each in VENDORS if (lacking := _lacking(each))}
    for vendor, names in missing.items():
        sys.stderr.write(
            f"{vendor.provider}: {descriptions_folder()} has no {' and no '.join(names)}. Vendors'"
            f" descriptions are no part of the repository: set {SPECS_VARIABLE} to a folder that"
            " has them.\n"
        )
    if not PRISM.exists():
        sys.stderr.write("Prism is not installed: run tests/system/install.sh.\n")
        return NOT_FULFILLED
    if missing and not wanted.present:
        return NOT_FULFILLED
    with tempfile.TemporaryDirectory(prefix="idp-contract-") as name:
        folder = Path(name)
        vendors = [each for each in VENDORS if each not in missing]
        suites = dict.fromkeys(suite for vendor in vendors for suite in vendor.suites)
        if wanted.recorded:
            suites = dict.fromkeys(each for each in suites if not each.startswith(SUITES))
        status = _record(suites, folder) if suites else 0
        told = calls_in(folder)
        kept = calls_in(wanted.recorded) if wanted.recorded else []
        rows = [
            row
            for each in vendors
            for row in checked(each, [*told, *(kept if _is_kept(each) else ())], folder)
        ]
    sys.stdout.write(table(rows))
    return 1 if status or any(row.complaint is not None for row in rows) else 0


def _is_kept(vendor: Vendor) -> bool:
    """Whether its suites are among those that keep their calls in each run of the tests."""
    return any(each.startswith(SUITES) for each in vendor.suites)


def _lacking(vendor: Vendor) -> list[str]:
    """The descriptions of the vendor's that are not there."""
    folder = descriptions_folder()
    wanted = () if vendor.describes_itself else vendor.descriptions
    return [name for name in wanted if not (folder / name).exists()]


def _record(suites: Iterable[str], folder: Path) -> int:
    """Runs them; their exit status."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *suites],
        env={**os.environ, RECORD_VARIABLE: str(folder)},
        cwd=ROOT,
        check=False,
    ).returncode


def calls_in(folder: Path) -> list[RecordedCall]:
    """What the suites have sent, each request once."""
    file = folder / CALLS_FILE
    lines = dict.fromkeys(file.read_text("utf-8").splitlines()) if file.exists() else {}
    return [RecordedCall(**json.loads(line)) for line in lines]


def checked(vendor: Vendor, calls: Iterable[RecordedCall], folder: Path) -> Iterator[Row]:
    """A row for each operation of the vendor's; one that says so when there was no call."""
    own = [each for each in calls if each.provider == vendor.provider]
    if not own:
        yield Row(vendor.provider, "any", "", 0, "its suites have sent nothing")
        return
    home = folder if vendor.describes_itself else descriptions_folder()
    of_operation: dict[tuple[str, str], list[RecordedCall]] = {}
    for each in own:
        of_operation.setdefault((each.operation_hint, each.method), []).append(each)
    with mock_of(vendor, home, folder) as mock:
        for (operation, _), same in of_operation.items():
            if mock.is_left_out(same[0]):
                path = f"{same[0].method} {same[0].path}"
                yield Row(vendor.provider, operation, path, len(same), None, is_described=False)
                continue
            found = [(each, mock.complaint(each)) for each in same]
            call, complaint = next((each for each in found if each[1] is not None), found[0])
            path = f"{call.method} {call.path}"
            yield Row(vendor.provider, operation, path, len(same), complaint)


def table(rows: Sequence[Row]) -> str:
    """With what the descriptions have against a call below its line."""
    lines = [("PROVIDER", "OPERATION", "PATH", "CALLS", "OK")]
    lines += [
        (row.provider, row.operation, row.path, str(row.calls), _verdict(row)) for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    complaints = [None, *(row.complaint for row in rows)]
    with_complaints = (
        f"{line}\n    {complaint}\n" if complaint else f"{line}\n"
        for line, complaint in zip(told, complaints, strict=True)
    )
    return "".join(with_complaints)


def _verdict(row: Row) -> str:
    if not row.is_described:
        return "left out"
    return "no" if row.complaint else "yes"


if __name__ == "__main__":
    sys.exit(main())
