"""What the documents name is there: links, routes, ports, names of the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from control_plane.openapi import openapi_document
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.workflows import event_names
from observability.ports import DEFAULT_OBSERVER_PORTS
from tests.docs.pages import (
    DOCS,
    README,
    ROOT,
    all_pages,
    anchors,
    links,
    prose,
)

PAGES = all_pages()
SOURCES = (
    "idp_kernel", "control_plane", "idp_dagster", "execution_workers", "local_stack", "idp_cli",
    "observability", "deploy",
)  # fmt: skip
OF_OTHERS = {"private_key_jwt"}
"""Names that standards of others have."""
NO_FILES_OF_OURS = (
    "manifests/", "postgres/", "text/", "application/", "kv/", "jwt/", "sys/", "platform/",
)  # fmt: skip
"""Beginnings of paths in an environment's repository, in `.idp` and at the secret store, and of
media types.
"""
PORTS = {str(port) for port in vars(DEFAULT_PORTS).values()}
OF_OBSERVERS = {"4317", "4318", "3200", *map(str, vars(DEFAULT_OBSERVER_PORTS).values())}
"""Where collectors take OTLP by its standard, where Tempo is asked, and Prometheus' own."""


def missing(look: Callable[[Path], Iterable[object]]) -> dict[str, list[str]]:
    """What `look` finds wrong, by page."""
    found = {str(page.relative_to(ROOT)): sorted(map(str, look(page))) for page in PAGES}
    return {page: faults for page, faults in found.items() if faults}


def code_words(page: Path, pattern: str) -> set[str]:
    """What stands in code spans of the page and looks like that, whole."""
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    return {span for span in spans if re.fullmatch(pattern, span)}


def test_links_lead_somewhere() -> None:
    assert missing(_broken_links) == {}


def _broken_links(page: Path) -> list[str]:
    return [link for link in links(page) if not _leads_somewhere(page, link)]


def _leads_somewhere(page: Path, link: str) -> bool:
    if re.match(r"https?://", link):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [README]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        linked = {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}
        waiting += [each for each in linked if each.suffix == ".md" and each not in seen]
    assert [page for page in PAGES if page not in seen] == []


def test_names_of_the_code_are_in_the_code() -> None:
    """Events, steps, jobs, codes of errors, metrics, as they stand in code spans."""
    files = [path for name in SOURCES for path in (ROOT / name).rglob("*")]
    source = {
        word
        for path in files
        if path.is_file() and path.suffix in (".py", ".yaml", "")
        for word in re.findall(r"[a-z]+(?:_[a-z]+)+", path.read_text(encoding="utf-8"))
    }
    known = source | event_names() | OF_OTHERS
    assert missing(lambda page: code_words(page, r"[a-z]+(?:_[a-z]+)+") - known) == {}


def test_settings_exist() -> None:
    """The pages of settings are made from the code."""
    pages = [page.read_text(encoding="utf-8") for page in (DOCS / "settings").glob("*.md")]
    rows = re.findall(r"^\| `([A-Z_]+)` \|", "\n".join(pages), re.MULTILINE)
    known = {*rows, FAILPOINTS_DIR_VARIABLE}
    assert missing(lambda page: _variables(page) - known) == {}


def _variables(page: Path) -> set[str]:
    return set(re.findall(r"\b(?:IDP|DAGSTER)_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))


def test_ports_are_those_of_the_code() -> None:
    assert missing(lambda page: _ports(page) - PORTS - OF_OBSERVERS) == {}


def _ports(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    return {*re.findall(r"(?<=127\.0\.0\.1:)\d+", text), *re.findall(r"\bport (\d+)", text)}


def test_the_table_of_ports_has_them_all() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE)
    every = PORTS | {str(port) for port in vars(DEFAULT_OBSERVER_PORTS).values()}
    assert sorted(port for row in rows for port in row.split(", ")) == sorted(every)


def _bare(path: str) -> str:
    return re.sub(r"\{\w*\}", "{}", path)


def test_routes_exist() -> None:
    paths = openapi_document()["paths"]
    routes = {(method.upper(), _bare(path)) for path, each in paths.items() for method in each}
    assert missing(lambda page: _routes(page) - routes) == {}


def _routes(page: Path) -> set[tuple[str, str]]:
    """Method and path of each route that is named, parameters as `{}`."""
    named = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/v1/[\w{}/-]+)")
    return {(method, _bare(path)) for method, path in named.findall(page.read_text("utf-8"))}


def test_files_and_folders_exist() -> None:
    """In code spans, as seen from the root."""
    assert missing(_missing_paths) == {}


def _missing_paths(page: Path) -> list[str]:
    named = code_words(page, r"[a-z_]+(?:/[a-z_<>-]+)+(?:\.[a-z]+)?/?|[a-z_]+/")
    return [
        path
        for path in named
        if not path.startswith(NO_FILES_OF_OURS)
        and not (ROOT / path.replace("<party>/", "")).exists()
    ]
