"""Stopping and starting: nothing is left running, and nothing is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import PORT_OFFSET
from tests.e2e.oracle import assert_provisioned_once
from tests.e2e.platform import eventually, running_platform

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

OFFSET = PORT_OFFSET + 300
"""Of platforms of its own."""


def test_a_second_up_goes_on_with_what_was_open(tmp_path: Path) -> None:
    with running_platform(tmp_path, OFFSET) as platform:
        subject = platform.new_subject()
        hit = platform.arm("workflow-engine.provision_secrets.before_call")
        request_id = platform.provision(subject)["requestId"]
        eventually(hit.exists, what="the run is in the middle of a step")
    hit.unlink(missing_ok=True)
    with running_platform(tmp_path, OFFSET) as platform:
        request = platform.ended(request_id)
        assert_provisioned_once(platform, subject, request, tmp_path)
