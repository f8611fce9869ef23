"""Fixtures that every test may ask for."""

import signal

import pytest
from hypothesis import HealthCheck, settings

# A shell leaves SIGINT ignored in what it starts in the background, and so do their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
# `side_by_side.sh` ends what it runs beside with SIGTERM: servers are stopped then as for Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)

pytest.register_assert_rewrite("tests.e2e.oracle", "tests.e2e.platform", "tests.e2e.dagster_ui")

# What is true stays true on a machine that has much to do.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

pytest_plugins = ["tests.fixtures.spans", "tests.fixtures.stack"]
