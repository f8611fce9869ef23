"""Pages that are made from the code are what the code says now."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.pages import ROOT


def test_generated_pages_are_what_the_code_says() -> None:
    ran = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
