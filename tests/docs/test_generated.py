"""Pages that are made from the code are what the code says now."""

from __future__ import annotations

import runpy
import subprocess
import sys

from idp_kernel.settings_reference import GENERATED_NOTE
from tests.docs.pages import DOCS, ROOT, all_pages


def test_generated_pages_are_what_the_code_says() -> None:
    ran = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_pages_that_are_made_begin_with_a_comment_that_says_so() -> None:
    made = set(runpy.run_path(str(DOCS / "generate.py"))["PAGES"])
    begin_so = {
        str(page.relative_to(DOCS))
        for page in all_pages()[1:]
        if page.read_text(encoding="utf-8").startswith(GENERATED_NOTE)
    }
    assert begin_so == made
