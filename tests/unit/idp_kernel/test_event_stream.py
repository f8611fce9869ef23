"""Server-sent streams: what is written is read, however the network cuts it up."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some

from idp_kernel.http.event_stream import (
    Message,
    comment,
    encoded,
    messages_in,
    pause_before_resuming,
)

DOCUMENTS = some.dictionaries(some.text(), some.text()).map(
    lambda document: json.dumps(document, ensure_ascii=False)
)
MESSAGES = some.lists(DOCUMENTS).map(
    lambda documents: [
        Message(str(number), each, "other" if number % 3 == 2 else "")
        for number, each in enumerate(documents)
    ]
)


@given(MESSAGES, some.lists(some.integers(min_value=0, max_value=2000)))
def test_what_is_written_is_read_wherever_it_is_cut(
    messages: list[Message], cuts: list[int]
) -> None:
    whole = b"".join(encoded(each) for each in messages)
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(edges)]
    assert list(messages_in(pieces)) == messages


def test_comments_and_pauses_are_passed_over() -> None:
    sent = [pause_before_resuming(2), comment("still here"), encoded(Message("7", "{}"))]
    assert sent[0] == b"retry: 2000\n\n"
    assert list(messages_in([*sent, comment("still here")])) == [Message("7", "{}")]


def test_where_a_stream_stands_is_told_without_data() -> None:
    assert list(messages_in([encoded(Message("41")), encoded(Message("42", "{}"))])) == [
        Message("41"),
        Message("42", "{}"),
    ]


def test_what_was_cut_off_within_is_no_message() -> None:
    sent = encoded(Message("1", "{}")) + encoded(Message("2", "{}"))
    for missing in range(1, len(encoded(Message("2", "{}")))):
        assert list(messages_in([sent[:-missing]])) == [Message("1", "{}")]


def test_what_other_servers_write_is_read_too() -> None:
    sent = b"event: changed\r\nid:7\r\ndata: [1,\r\ndata: 2]\r\n\r\n"
    assert list(messages_in([sent])) == [Message("7", "[1,\n2]", "changed")]
