"""The reference pages of settings, in Markdown, made from the settings classes themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from idp_kernel.settings import ServiceSettings, form_of, variable_of

ROOT = Path(__file__).parents[1]
GENERATED_NOTE = "<!-- Made by `make docs` from the code; a change here is lost. -->"
"""Stands on top of each page that is made."""
COLUMNS = ("Variable", "Default", "Must be", "Meaning")


@dataclass(frozen=True)
class SettingsSection:
    """Settings that belong together: of some programs, as their class has them."""

    title: str
    settings: type[ServiceSettings]
    without: tuple[type[ServiceSettings], ...] = ()
    """Classes whose fields another section has already."""
    text: str = ""


def settings_page(title: str, introduction: str, sections: Sequence[SettingsSection]) -> str:
    """A page; ends with a line end."""
    parts = [GENERATED_NOTE, f"# {title}", introduction]
    for section in sections:
        parts += [f"## {section.title}", *([section.text] if section.text else [])]
        parts.append(markdown_table(COLUMNS, _rows(section)))
    return "\n\n".join(parts) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(each) for each in line)} |" for line in lines)


def _rows(section: SettingsSection) -> Iterator[tuple[str, str, str, str]]:
    told = {name for settings in section.without for name in settings.model_fields}
    for name, field in section.settings.model_fields.items():
        if name not in told:
            form = form_of(field)
            secret = " The file holds a secret: mode 0600." if form.is_secret else ""
            variable = variable_of(section.settings, name)
            yield f"`{variable}`", _default(field), form.words, f"{_meaning(field)}{secret}"


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    if default is PydanticUndefined:
        return "**required**"
    if default is None:
        return "not set"
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        default = default.relative_to(ROOT)
    return f"`{default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
