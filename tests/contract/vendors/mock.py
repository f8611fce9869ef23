"""A mock of a vendor that refuses what the vendor's description does not allow: Prism.

The description is read more strictly than it says: an object of named properties has no others, so
that a misspelled one is found.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import yaml

from idp_kernel.services import LOOPBACK
from tests.contract.vendors.resources import described
from tests.contract.vendors.vendors import ROOT, Vendor
from tests.fixtures.stack import end, free_port
from tests.fixtures.vendors import RecordedCall

PRISM = ROOT / "tests" / "system" / "contracts" / "node_modules" / ".bin" / "prism"
READY_WITHIN_SECONDS = 60
DEFINITION = "CustomResourceDefinition"
_SENT_HEADERS = re.compile(r"authorization|content-type|x-(?!request-id)[a-z-]+")


@dataclass(frozen=True)
class Mock:
    """A running mock."""

    vendor: Vendor
    client: httpx.Client

    def complaint(self, call: RecordedCall) -> str | None:
        """What the description has against the call; None when it allows it."""
        answer = self.client.request(
            call.method,
            self._path_of(call),
            params=dict(call.query),
            headers={
                name: value for name, value in call.headers.items() if _SENT_HEADERS.fullmatch(name)
            },
            content=None if call.body is None else json.dumps(call.body),
        )
        return _violations(answer) or _refusal(answer)

    def is_left_out(self, call: RecordedCall) -> bool:
        """Whether the description is known not to have the call's path."""
        return self._path_of(call) in self.vendor.left_out

    def _path_of(self, call: RecordedCall) -> str:
        path = call.path.removeprefix(self.vendor.prefix)
        for start in self.vendor.one_parameter:
            if path.startswith(start):
                return start + quote(path.removeprefix(start), safe="%")
        return path


@contextmanager
def mock_of(vendor: Vendor, home: Path, folder: Path) -> Iterator[Mock]:
    """The mock while it runs; its files are in `folder`, the vendor's descriptions in `home`."""
    strict_file = folder / f"{vendor.provider}.strict.json"
    strict_file.write_text(
        json.dumps(_strict_but(_description_of(vendor, home), vendor.incomplete), default=str)
    )
    port = free_port()
    with (folder / f"{vendor.provider}.prism.log").open("wb") as log:
        process = subprocess.Popen(
            [PRISM, "mock", "--host", LOOPBACK, "--port", str(port), strict_file],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(
            base_url=f"http://{LOOPBACK}:{port}", trust_env=False, timeout=30
        ) as client:
            _wait_until_ready(client, process, folder / f"{vendor.provider}.prism.log")
            yield Mock(vendor, client)
    finally:
        end(process, signal.SIGTERM)


def _description_of(vendor: Vendor, home: Path) -> Any:
    """Of an API; several files are definitions of resources."""
    files = [_read(home / name) for name in vendor.descriptions]
    return described(files) if files[0].get("kind") == DEFINITION else files[0]


def _read(description: Path) -> Any:
    text = description.read_text("utf-8")
    return json.loads(text) if description.suffix == ".json" else yaml.safe_load(text)


def _strict_but(description: Any, incomplete: Iterable[str]) -> Any:
    read = strict(description)
    schemas = read["components"]["schemas"] if "components" in read else read["definitions"]
    for name in incomplete:
        schemas[name].pop("additionalProperties")
    return read


def strict(description: Any, *, is_part: bool = False) -> Any:
    """The description without room for properties that it does not name. Parts of an `allOf` know
    only their own, so they keep theirs.
    """
    if isinstance(description, list):
        return [strict(each, is_part=is_part) for each in description]
    if not isinstance(description, dict):
        return description
    read = {
        key: strict(value, is_part=is_part or key == "allOf") for key, value in description.items()
    }
    names = read.get("properties")
    is_object = isinstance(names, dict) and read.get("type", "object") == "object"
    if is_object and not is_part and not read.get("x-kubernetes-preserve-unknown-fields"):
        read.setdefault("additionalProperties", False)
    return read


def _violations(answer: httpx.Response) -> str:
    """What Prism found wrong with a request that the description has an answer for."""
    found = json.loads(answer.headers.get("sl-violations", "[]"))
    of_request = [each for each in found if each["location"][0] == "request"]
    return _listed(each for each in of_request if each["severity"] == "Error")


def _refusal(answer: httpx.Response) -> str | None:
    """Why Prism itself refused the request; None when it did not."""
    if answer.status_code < 400:
        return None
    try:
        problem = answer.json()
    except ValueError:
        return f"status {answer.status_code}"
    listed = _listed(problem.get("validation", ()))
    return listed or f"{answer.status_code}, {problem.get('title')}: {problem.get('detail')}"


def _listed(found: Iterable[Mapping[str, Any]]) -> str:
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, each.get("location", ()))), each["message"])))
        for each in found
    )


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + READY_WITHIN_SECONDS
    while process.poll() is None and time.monotonic() < give_up_at:
        try:
            client.get("/")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"Prism does not serve: {log.read_text('utf-8', 'replace')[-2000:]}")
