"""The closed sets that labels come from are those that the providers' errors have."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import execution_workers.providers
from execution_workers.providers.calls import Verdict
from execution_workers.providers.rest import HttpErrors
from idp_kernel.downstream import CODES, Refusal

OF_CALLS = {"unreachable", "credential_unreadable", *Refusal}
"""Told before there is an answer that a table could be asked about."""


def verdicts_in(value: object) -> Iterator[Verdict]:
    if isinstance(value, Verdict):
        yield value
    elif isinstance(value, HttpErrors):
        yield from verdicts_in((value.of_status, value.of_exception, value.unreadable))
    elif isinstance(value, dict):
        yield from verdicts_in(tuple(value.values()))
    elif isinstance(value, tuple):
        for each in value:
            yield from verdicts_in(each)


def test_every_code_of_a_provider_is_a_label_and_no_other() -> None:
    package = execution_workers.providers
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    codes = {
        verdict.code
        for module in modules
        for value in vars(module).values()
        for verdict in verdicts_in(value)
    }
    assert codes == CODES - OF_CALLS
