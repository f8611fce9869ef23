"""Pages and their cursors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.api.paging import PageWanted, _decode, _encode, page_of
from idp_kernel.errors import InvalidInput
from idp_kernel.ids import ID_PATTERN, new_id
from idp_kernel.wire.api import PlatformStanding


def test_a_cursor_leads_back_to_its_position() -> None:
    position = new_id()
    assert _decode(_encode(position), ID_PATTERN) == position


@given(st.text(max_size=60))
def test_anything_else_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        _decode(cursor, ID_PATTERN)
    assert refused.value.code == "cursor_invalid"


@pytest.mark.parametrize(("there_are", "cursors"), [(0, 0), (2, 0), (3, 1)])
def test_a_page_tells_whether_there_is_another(there_are: int, cursors: int) -> None:
    wanted = PageWanted(after=None, size=2)
    items = [PlatformStanding(draining=False)] * there_are
    page = page_of(items[: wanted.slice.limit], wanted, lambda _item: "1")
    assert len(page.items) == min(there_are, 2)
    assert (page.next_cursor is not None) == bool(cursors)
