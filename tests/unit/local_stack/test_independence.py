"""The forge, the agent and the consumer stand for foreign systems: none knows another's code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import local_stack

ROOT = Path(local_stack.__file__).parent
PARTS = ("forge", "agent", "consumer")


def imported(package: Path) -> set[str]:
    """Every module that a package's files import."""
    modules: set[str] = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module or "")
    return modules


@pytest.mark.parametrize("package", PARTS)
def test_the_parts_never_import_each_other(package: str) -> None:
    found = imported(ROOT / package)
    others = tuple(f"local_stack.{each}" for each in PARTS if each != package)
    assert f"local_stack.{package}.settings" in found
    assert not {module for module in found if module.startswith(others)}


def test_a_hook_starts_with_the_standard_library_only() -> None:
    tree = ast.parse((ROOT / "forge" / "pushes.py").read_text(encoding="utf-8"))
    names = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not {name for name in names if name and name.startswith(("idp", "local_stack"))}
