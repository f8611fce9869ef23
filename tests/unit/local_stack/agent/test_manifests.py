"""YAML of teams: what is read, and what is refused and why."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_stack.agent.manifests import MAX_OBJECTS, ManifestFile, read_objects
from tests.fixtures.hostile_yaml import BOMB, MERGE_BOMB


def read(content: bytes | str) -> tuple[list[object], list[str]]:
    data = content.encode() if isinstance(content, str) else content
    objects, problems = read_objects([ManifestFile("manifests/a.yaml", data)])
    return [each.document for each in objects], [str(problem) for problem in problems]


def test_documents_are_read_in_order_and_empty_ones_passed_over() -> None:
    assert read("a: 1\n---\n---\n# nothing\n---\nb: 2\n") == ([{"a": 1}, {"b": 2}], [])


def test_a_date_is_a_text_as_kubernetes_reads_it() -> None:
    assert read("at: 2026-01-01\n") == ([{"at": "2026-01-01"}], [])


def test_a_few_aliases_are_fine() -> None:
    assert read("a: &x {k: 1}\nb: *x\nc:\n  <<: *x\n")[0] == [
        {"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1}}
    ]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("a: [1\n", "bad YAML"),
        ("- 1\n", "is no object"),
        ("text\n", "is no object"),
        ("a: 1\na: 2\n", "the key 'a' stands twice, again on line 2"),
        ("1: a\n", "the key 1 is no text"),
        ("a: {on: 1}\n", "the key True is no text"),
        ("? [a, b]\n: c\n", "bad YAML"),
        ("a: !!python/object/apply:os.system [x]\n", "bad YAML"),
        ("a: *unknown\n", "bad YAML"),
        ("a: &a [*a]\n", "an alias contains itself"),
        ("a: " + "9" * 5000 + "\n", "a value cannot be read"),
        ("a: !!bool foo\n", "a value cannot be read"),
        ("a: !!int ''\n", "a value cannot be read"),
        ("a: !!float ''\n", "a value cannot be read"),
        ("a: !!timestamp foo\n", "a value cannot be read"),
        ("a: !!timestamp 2024-99-99\n", "a value cannot be read"),
        ('a: "\\UFFFFFFFF"\n', "a value cannot be read"),
        (BOMB, "aliases written out"),
        (MERGE_BOMB, "aliases written out"),
        ("a: " + "[" * 20000, "nested too deeply"),
        (b"a: \xff\n", "is not UTF-8"),
        (b"a: \x00\n", "bad YAML"),
    ],
)
def test_what_cannot_be_trusted_is_refused_quickly(content: bytes | str, error: str) -> None:
    started = time.thread_time()
    documents, problems = read(content)
    assert documents == []
    assert len(problems) == 1
    assert problems[0].startswith("manifests/a.yaml: ")
    assert error in problems[0]
    assert time.thread_time() - started < 5


def test_too_many_objects_are_refused() -> None:
    documents, problems = read("a: 1\n---\n" * (MAX_OBJECTS + 1))
    assert len(documents) == MAX_OBJECTS
    assert len(problems) == 1


def test_nothing_is_read_behind_one_object_too_many() -> None:
    surplus = ManifestFile("a.yaml", b"a: 1\n---\n" * (MAX_OBJECTS + 1) + b"[")
    objects, problems = read_objects([surplus, ManifestFile("b.yaml", b"[")])
    assert len(objects) == MAX_OBJECTS
    assert [str(each) for each in problems] == [
        f"a.yaml: there are more than {MAX_OBJECTS} objects"
    ]


def test_a_broken_file_hides_no_other() -> None:
    files = [ManifestFile("a.yaml", b"a: ["), ManifestFile("b.yaml", b"b: 1")]
    objects, problems = read_objects(files)
    assert [each.path for each in objects] == ["b.yaml"]
    assert [problem.path for problem in problems] == ["a.yaml"]


@settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!<>|?\n '\"%@`#,0.~=")))
def test_no_text_raises(content: str) -> None:
    read(content)
