"""Backstage accepts the `catalog-info.yaml` that onboarding commits, by its own rules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.platform import Platform, Subject

pytestmark = [pytest.mark.e2e, pytest.mark.system]

BACKSTAGE = Path(__file__).parents[1] / "system" / "backstage"


def _check(catalog: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", "check.mjs", str(catalog)],
        cwd=BACKSTAGE, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_catalog_takes_what_onboarding_commits(
    platform: Platform, onboarded: Subject, tmp_path: Path
) -> None:
    application = platform.ok("GET", f"/v1/applications/{onboarded.application_id}")
    code = next(each for each in application["repositories"] if each["kind"] == "code")
    cloned = platform.git("clone", code["url"], str(tmp_path / "code"), token=platform.admin_token)
    assert cloned.returncode == 0, cloned.stderr
    catalog = tmp_path / "code" / "catalog-info.yaml"
    checked = _check(catalog)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.split() == [f"component:default/{onboarded.application}"]

    catalog.write_text(catalog.read_text().replace("kind: Component", "kind: Something"))
    assert _check(catalog).returncode != 0, "the check can fail"
