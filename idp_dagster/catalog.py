"""The asset catalog: application environments and secrets, one partition for each.

They are external assets: no Dagster job makes them, workflows do, and say so when they are through.
All that the catalog shows are references.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import stamina
from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    AssetSpec,
    DagsterEventType,
    DagsterInstance,
    DynamicPartitionsDefinition,
    EventLogRecord,
    Failure,
    MetadataValue,
)

from idp_kernel.errors import Unavailable
from idp_kernel.services import OPENAPI_PATH

APPLICATION_ENVIRONMENTS: Final = AssetKey("application_environments")
SECRETS: Final = AssetKey("secrets")
APPLICATION_ENVIRONMENT_IDS: Final = DynamicPartitionsDefinition(name="application_environment_ids")
SECRET_IDS: Final = DynamicPartitionsDefinition(name="secret_ids")
PARTITIONS: Final[Mapping[AssetKey, DynamicPartitionsDefinition]] = {
    APPLICATION_ENVIRONMENTS: APPLICATION_ENVIRONMENT_IDS,
    SECRETS: SECRET_IDS,
}
OWNER: Final = "team:platform"
"""Dagster knows one owner for each asset; the team of a partition is in its metadata."""

RECORDS_PER_QUERY: Final = 500
"""Dagster answers at most a thousand at once."""

VERSIONED_BY: Final[Mapping[AssetKey, str]] = {
    APPLICATION_ENVIRONMENTS: "revision",
    SECRETS: "version",
}
"""The metadata that tells whether what the catalog shows is the present one."""

RECORD_ATTEMPTS: Final = 4
RECORD_LONGEST_WAIT_SECONDS: Final = 2.0
"""How often the catalog is told one thing, and what lies between at most."""

LogEvent = Callable[[AssetMaterialization], None]


def asset_specs(api_url: str) -> list[AssetSpec]:
    """Both assets; `api_url` is where the control plane's API and its documentation are."""
    return [
        AssetSpec(
            APPLICATION_ENVIRONMENTS,
            description=(
                "Every application environment that was provisioned, by its id: its repository, "
                "and the commit that carries its secret bindings."
            ),
            partitions_def=APPLICATION_ENVIRONMENT_IDS,
            group_name="platform",
            kinds={"git", "kubernetes"},
            owners=[OWNER],
            metadata={"api": MetadataValue.url(api_url + OPENAPI_PATH)},
        ),
        AssetSpec(
            SECRETS,
            description=(
                "Every secret that has a value, by its id: where the store keeps it, and the "
                "version in use. Never the value."
            ),
            partitions_def=SECRET_IDS,
            group_name="platform",
            kinds={"openbao"},
            owners=[OWNER],
            metadata={"api": MetadataValue.url(api_url + OPENAPI_PATH)},
        ),
    ]


def partitions_of(instance: DagsterInstance, asset: AssetKey) -> frozenset[str]:
    """The ids that the catalog shows now."""
    return frozenset(instance.get_dynamic_partitions(_partitions_name(asset)))


def align_partitions(
    instance: DagsterInstance, asset: AssetKey, *, shown: Collection[str], listed: Collection[str]
) -> None:
    """Adds what is `listed` to the catalog, and takes out what was `shown` and is listed no more.

    What was shown must have been read before the list: an environment that is provisioned
    meanwhile is then in neither, and stays.
    """
    name = _partitions_name(asset)
    if added := sorted(set(listed) - set(shown)):
        instance.add_dynamic_partitions(name, added)
    for gone in sorted(set(shown) - set(listed)):
        instance.delete_dynamic_partition(name, gone)


def latest_materializations(
    instance: DagsterInstance, asset: AssetKey, ids: Collection[str]
) -> dict[str, EventLogRecord]:
    """The newest materialization of each partition that has one."""
    if not ids:
        return {}  # Dagster takes none for all.
    newest = instance.event_log_storage.get_latest_storage_id_by_partition(
        asset, DagsterEventType.ASSET_MATERIALIZATION, set(ids)
    )
    storage_ids = list(newest.values())
    found: dict[str, EventLogRecord] = {}
    for start in range(0, len(storage_ids), RECORDS_PER_QUERY):
        wanted = storage_ids[start : start + RECORDS_PER_QUERY]
        records = instance.fetch_materializations(
            AssetRecordsFilter(asset, storage_ids=wanted), limit=RECORDS_PER_QUERY
        ).records
        found |= {str(each.partition_key): each for each in records}
    return found


def bring_up_to_date(
    instance: DagsterInstance,
    log: LogEvent,
    asset: AssetKey,
    *,
    shown: Mapping[str, EventLogRecord],
    listed: Mapping[str, AssetMaterialization],
) -> dict[str, EventLogRecord]:
    """Records what is `listed` and not `shown` so, and answers the materializations this made: what
    a workflow finalized and could not tell. Both are by partition.

    Of what is listed, no request may have been at work on anything since it was. What another run
    has told since `shown` was read stays as that told it.
    """
    outdated = {id_ for id_, each in listed.items() if not _shows(shown.get(id_), each)}
    now = latest_materializations(instance, asset, outdated)
    untold = [id_ for id_ in listed if id_ in outdated and now.get(id_) == shown.get(id_)]
    record(instance, log, [listed[id_] for id_ in untold])
    return latest_materializations(instance, asset, untold)


def _shows(shown: EventLogRecord | None, listed: AssetMaterialization) -> bool:
    if shown is None or shown.asset_materialization is None:
        return False
    name = VERSIONED_BY[listed.asset_key]
    return shown.asset_materialization.metadata.get(name) == listed.metadata[name]


def record(
    instance: DagsterInstance, log: LogEvent, events: Sequence[AssetMaterialization]
) -> None:
    """Has the catalog show what stands now; each partition is made before its first event.

    `Unavailable` (`catalog_not_told`) when Dagster's database keeps refusing it.
    """
    for event in events:
        try:
            _record(instance, log, event)
        except Exception as error:
            # Only the type: the message of a database's error holds the statement.
            raise Unavailable(
                f"The asset catalog does not show {event.partition} as it stands: Dagster's "
                f"database refused it with {type(error).__name__}.",
                code="catalog_not_told",
            ) from error


def record_finalized(
    instance: DagsterInstance, log: LogEvent, events: Sequence[AssetMaterialization]
) -> None:
    """As `record`, of a request that has succeeded: a `Failure` then says that it has. It is no
    step's to try again, since the claim is over.
    """
    try:
        record(instance, log, events)
    except Unavailable as error:
        raise Failure(
            f"The request succeeded; nothing needs to be repeated. {error.message} The next check "
            "of the asset brings the catalog up to date.",
            metadata={"code": error.code},
            allow_retries=False,
        ) from error


def _record(instance: DagsterInstance, log: LogEvent, event: AssetMaterialization) -> None:
    assert event.partition is not None  # noqa: S101 - for mypy: every event here has one
    for attempt in stamina.retry_context(
        on=Exception, attempts=RECORD_ATTEMPTS, wait_max=RECORD_LONGEST_WAIT_SECONDS
    ):
        with attempt:
            instance.add_dynamic_partitions(_partitions_name(event.asset_key), [event.partition])
            log(event)


def _partitions_name(asset: AssetKey) -> str:
    name = PARTITIONS[asset].name
    assert name is not None  # noqa: S101 - for mypy: those made by a function have none
    return name
