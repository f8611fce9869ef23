"""The resource `run_news`: what Dagster's storage tells of runs."""

from __future__ import annotations

import os
from functools import cache

from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

from idp_dagster.news import News
from idp_dagster.ports import RunNews
from idp_dagster.resources.workflow_requests import LONG_WAIT_SECONDS
from idp_dagster.storage import ENDINGS_CHANNEL, TellingRunStorage
from idp_kernel.errors import InvariantBroken


class RunNewsResource(ConfigurableResource[RunNews]):
    """Of the instance's own storage, heard on one connection of the process."""

    wait_seconds: float = LONG_WAIT_SECONDS
    _news: News = PrivateAttr()

    def setup_for_execution(self, context: InitResourceContext) -> None:
        storage = None if context.instance is None else context.instance.run_storage
        if not isinstance(storage, TellingRunStorage):
            raise InvariantBroken(f"{type(storage).__name__} tells nobody that a run has ended.")
        self._news = _news_of(storage.postgres_url, os.getpid())

    def wait(self) -> bool:
        return self._news.wait(self.wait_seconds)


@cache
def _news_of(postgres_url: str, process_id: int) -> News:
    """A forked child must not share its parent's connection."""
    assert process_id == os.getpid()  # noqa: S101 - the key of the cache
    return News(postgres_url, ENDINGS_CHANNEL)
