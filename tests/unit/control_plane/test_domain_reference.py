"""The page of the domain leaves nothing out of the tables."""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any

import control_plane.domain
from control_plane.domain.moves import MoveTable
from control_plane.domain_reference import CHAPTERS, REQUEST_CHAPTER, domain_page, state_diagram

CHAPTERS_OF_ALL = (*CHAPTERS, REQUEST_CHAPTER)


def _tables() -> list[MoveTable[Any]]:
    modules = [
        importlib.import_module(f"control_plane.domain.{found.name}")
        for found in pkgutil.iter_modules(control_plane.domain.__path__)
    ]
    found = {
        id(value): value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, MoveTable)
    }
    return list(found.values())


def test_every_table_has_its_chapter() -> None:
    told = {id(table) for chapter in CHAPTERS_OF_ALL for table in chapter.tables}
    assert told == {id(table) for table in _tables()}
    assert len(told) > 8


def test_entities_of_one_chapter_move_alike() -> None:
    for chapter in CHAPTERS_OF_ALL:
        assert len({(table.initial, table.moves) for table in chapter.tables}) == 1


def test_a_diagram_has_every_move_and_state() -> None:
    for table in _tables():
        diagram = state_diagram(table)
        drawn = set(re.findall(r"^    (\S+) --> (\S+): (\S+)$", diagram, re.MULTILINE))
        assert drawn == {
            (str(source), str(move.target), move.action)
            for move in table.moves
            for source in move.sources
        }
        states = {state for source, target, _ in drawn for state in (source, target)}
        assert states == {str(state) for state in type(table.initial)}, "each can be reached"
        assert f"[*] --> {table.initial}" in diagram


def test_the_page_draws_each_chapter() -> None:
    page = domain_page()
    assert page.count("stateDiagram-v2") == len(CHAPTERS_OF_ALL)
    for chapter in CHAPTERS_OF_ALL:
        assert f"\n## {chapter.title}\n" in page
