"""What programs will be told is checked with their own classes, and nothing of it is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from idp_kernel.settings import Port, SecretFilePath, ServiceSettings
from idp_kernel.settings_check import ProgramSettings, SettingsCheck, complaints

PORT, KEY = "IDP_CHECKED_PORT", "IDP_CHECKED_KEY_FILE"


class CheckedSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="IDP_CHECKED_")

    port: Port = 8080
    key_file: SecretFilePath


class PortSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="IDP_CHECKED_")

    port: Port


def told(home: Path, *programs: tuple[type[ServiceSettings], dict[str, str]]) -> list[str]:
    """The variables that are complained of, in order."""
    check = SettingsCheck(
        programs=tuple(
            ProgramSettings(settings=f"{__name__}:{kind.__name__}", environment=environment)
            for kind, environment in programs
        ),
        working_folder=home / "run",
        made_later=home,
    )
    lines = complaints(check).lines
    return [line.partition(":")[0] for line in lines]


def test_what_several_programs_refuse_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PORT, "many")
    before = dict(os.environ)
    assert told(tmp_path, (CheckedSettings, {}), (PortSettings, {})) == [PORT, KEY]
    assert told(tmp_path, (PortSettings, {PORT: "80"})) == []
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("place", "complained_of"),
    [
        ("/home/keys/made-later", []),
        ("../keys/made-later", []),
        ("/elsewhere/key", [KEY]),
        ("../../elsewhere/key", [KEY]),
        ("/elsewhere/there", []),
        ("../../elsewhere/there", []),
    ],
)
def test_files_are_missed_that_nobody_makes_later(
    tmp_path: Path, place: str, complained_of: list[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "there").write_text("x")
    path = f"{tmp_path}{place}" if place.startswith("/") else place
    assert told(tmp_path / "home", (CheckedSettings, {KEY: path})) == complained_of
