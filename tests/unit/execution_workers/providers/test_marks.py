"""The marker in a description: written, read back, and never lost to a long text."""

from __future__ import annotations

import pytest

from execution_workers.ports import Marker
from execution_workers.providers.forges.host import NOBODY
from execution_workers.providers.forges.marks import Description, owner_mark, read_description
from idp_kernel.ids import new_id

LONGEST_INSTALLATION = "i" * 63


def marker(request_id: str | None = None) -> Marker:
    return Marker(LONGEST_INSTALLATION, new_id(), new_id() if request_id is None else request_id)


@pytest.mark.parametrize("text", ["", "The shop in dev", "x" * 400, "two\nlines", "[idp:x]"])
@pytest.mark.parametrize("protected_by", ["", new_id()])
def test_what_is_written_is_read_back(text: str, protected_by: str) -> None:
    written = Description(text, marker(), protected_by)
    kept = written.written(255)
    found = read_description(kept)
    assert len(kept) <= 255
    assert (found.marker, found.protected_by) == (written.marker, protected_by)
    assert found.text.rstrip("…") == " ".join(text.split())[: len(found.text.rstrip("…"))]
    assert found.written(255) == kept


def test_a_person_leaves_the_request_out() -> None:
    handed_over = marker("")
    found = read_description(f"Old shop {owner_mark(handed_over)}")
    assert found.marker == handed_over


@pytest.mark.parametrize(
    "description",
    [
        None,
        "",
        "idp:here/x",
        "[idp:here]",
        "[idp:here/not-an-id]",
        f"[idp:he re/{new_id()}]",
        f"[idp:here/{new_id()}/]",
        f"[idp:here/{new_id()}] [idp:here/{new_id()}]",
    ],
)
def test_what_marks_nothing(description: str | None) -> None:
    found = read_description(description)
    assert found.marker == NOBODY
    assert found.protection_marker == NOBODY


def test_a_protection_is_of_the_repositorys_entity() -> None:
    owner, request = marker(), new_id()
    found = Description("", owner, request).protection_marker
    assert found.is_of_same_entity(owner)
    assert found.request_id == request
