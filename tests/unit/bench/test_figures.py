"""Percentiles by nearest rank, and ratios with what they can be trusted to."""

from __future__ import annotations

import pytest

from tests.bench.figures import percentile, ratio_of_medians, spread


def test_percentiles_are_samples() -> None:
    found = spread([float(each) for each in range(100, 0, -1)])
    assert (found.p50, found.p95, found.p99) == (50.0, 95.0, 99.0)


def test_one_sample_is_all_its_percentiles() -> None:
    found = spread([3.0])
    assert (found.p50, found.p95, found.p99) == (3.0, 3.0, 3.0)


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_equal_blocks_have_a_ratio_of_one_within_a_narrow_interval() -> None:
    blocks = [[1.0, 1.1, 0.9], [1.0, 1.05, 0.95], [1.0, 1.02, 0.98]]
    found = ratio_of_medians(blocks, blocks)
    assert found.value == 1.0
    assert 0.9 < found.low <= 1.0 <= found.high < 1.1


def test_what_is_twice_as_slow_is_told_so() -> None:
    base = [[1.0, 1.1, 0.9], [1.0, 1.0, 1.0]]
    found = ratio_of_medians([[2.0, 2.2, 1.8], [2.0, 2.0, 2.0]], base)
    assert found.value == 2.0
    assert found.low > 1.5


def test_a_block_that_was_disturbed_widens_the_interval() -> None:
    base = [[1.0] * 5, [1.0] * 5, [1.0] * 5]
    quiet = ratio_of_medians([[1.0] * 5, [1.0] * 5, [1.0] * 5], base)
    disturbed = ratio_of_medians([[1.0] * 5, [1.0] * 5, [3.0] * 5], base)
    assert disturbed.high > quiet.high
