"""Fixtures that every test may ask for."""

import pytest

pytest.register_assert_rewrite("tests.e2e.oracle", "tests.e2e.platform", "tests.e2e.dagster_ui")

pytest_plugins = ["tests.fixtures.stack"]
