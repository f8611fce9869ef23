"""The documents as their readers have them: fenced blocks, links, headings, and what is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
TUTORIAL = DOCS / "tutorial.md"
OPERATIONS = DOCS / "operations.md"
TRACING = DOCS / "tracing.md"
HOW_DO_I = [
    DOCS / path
    for path in re.findall(
        r"\((how-do-i/[a-z-]+\.md)\)", (DOCS / "README.md").read_text(encoding="utf-8")
    )
]
"""In the order of the index."""

RUNBOOKS = sorted((DOCS / "operations").glob("*.md"))
"""One for each alert."""

TYPED = ("sh", "console")
"""Blocks that a reader types, and the tests."""
SHOWN = "sh shown"
"""Commands that need what is not here: a vendor's server, system packages, hours."""
OTHERS = frozenset({"text", "json", "yaml", "hcl", "mermaid"})
"""Blocks without commands."""

FENCE = re.compile(r"^ *(?:```|~~~).*$", re.MULTILINE)
_FENCED = re.compile(r"^```(?P<language>[a-z ]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_NO_ANCHOR = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    """All that stands behind the fence."""
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def all_pages() -> list[Path]:
    """Every document, the README first."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's blocks in these languages, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found["language"], found["text"])
        for found in _FENCED.finditer(text)
        if found["language"] in languages
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Every address that the page links or shows."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    return set(_anchors_of(_HEADING.findall(prose(page))))


def _anchors_of(headings: list[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for heading in headings:
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        anchor = _NO_ANCHOR.sub("", plain.strip().lower()).replace(" ", "-")
        number = seen.get(anchor, 0)
        seen[anchor] = number + 1
        yield f"{anchor}-{number}" if number else anchor
