"""The checks of the asset catalog: does each thing still stand as it was confirmed last?

One run looks at every partition, or at the one it was launched for. It marks none before it has
looked at all and told the control plane: when a provider or the control plane is away the run fails
with that error, and the catalog keeps showing what was found before. So it does of a thing that a
request is at work on, since what was expected of it may not be what the request has brought about.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckSpec,
    AssetKey,
    AssetMaterialization,
    Output,
    ResourceParam,
    multi_asset_check,
)
from dagster._utils.warnings import disable_dagster_warnings

from idp_dagster.catalog import (
    APPLICATION_ENVIRONMENTS,
    PARTITIONS,
    SECRETS,
    align_partitions,
    bring_up_to_date,
    latest_materializations,
    partitions_of,
)
from idp_dagster.evaluations import evaluation, whole_evaluation
from idp_dagster.materializations import listed_environment, listed_secret
from idp_dagster.policies import CHECK_RETRY_POLICY, dagster_failures
from idp_dagster.ports import AssetRegistry, Probes, RunWatch
from idp_kernel.clock import SystemClock
from idp_kernel.errors import InvariantBroken
from idp_kernel.wire.engine import AssetCheckName
from idp_kernel.wire.worker import (
    CHECKS_PER_CALL,
    AppEnvExpected,
    Finding,
    Findings,
    SecretExpected,
)

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

Expected = TypeVar("Expected", AppEnvExpected, SecretExpected)
CheckEvent = AssetCheckEvaluation | Output[None]


def _spec(asset: AssetKey, name: AssetCheckName, description: str) -> AssetCheckSpec:
    # Dagster warns that partitions of checks are a preview; decision 0011 says what we use of it.
    with disable_dagster_warnings():
        return AssetCheckSpec(
            name.value, asset=asset, description=description, partitions_def=PARTITIONS[asset]
        )


REPOSITORY_PROTECTED = _spec(
    APPLICATION_ENVIRONMENTS,
    AssetCheckName.REPOSITORY_PROTECTED,
    "The default branch of the environment's repository is closed to direct pushes.",
)
BINDINGS_PRESENT = _spec(
    APPLICATION_ENVIRONMENTS,
    AssetCheckName.BINDINGS_PRESENT,
    "The repository has each secret binding, at the version that was confirmed last.",
)
GITOPS_RECONCILED = _spec(
    APPLICATION_ENVIRONMENTS,
    AssetCheckName.GITOPS_RECONCILED,
    "The GitOps agent has the confirmed commit or a later one, in good health.",
)
SECRET_WITHIN_POLICY = _spec(
    SECRETS,
    AssetCheckName.SECRET_WITHIN_POLICY,
    "The version in use is there, and not older than the secret's rotation policy allows.",
)


@multi_asset_check(specs=[REPOSITORY_PROTECTED], retry_policy=CHECK_RETRY_POLICY)
def repository_protected(
    context: AssetCheckExecutionContext,
    asset_registry: ResourceParam[AssetRegistry],
    probes: ResourceParam[Probes],
    run_watch: ResourceParam[RunWatch],  # noqa: ARG001 - to ask for it is all
) -> Iterator[CheckEvent]:
    """Asks the forge."""
    expected = _environments(asset_registry)
    look = probes.repository_protected
    yield from _checked(context, REPOSITORY_PROTECTED, asset_registry, expected, look)


@multi_asset_check(specs=[BINDINGS_PRESENT], retry_policy=CHECK_RETRY_POLICY)
def bindings_present(
    context: AssetCheckExecutionContext,
    asset_registry: ResourceParam[AssetRegistry],
    probes: ResourceParam[Probes],
    run_watch: ResourceParam[RunWatch],  # noqa: ARG001 - to ask for it is all
) -> Iterator[CheckEvent]:
    """Asks the forge."""
    expected = _environments(asset_registry)
    look = probes.bindings_present
    yield from _checked(context, BINDINGS_PRESENT, asset_registry, expected, look)


@multi_asset_check(specs=[GITOPS_RECONCILED], retry_policy=CHECK_RETRY_POLICY)
def gitops_reconciled(
    context: AssetCheckExecutionContext,
    asset_registry: ResourceParam[AssetRegistry],
    probes: ResourceParam[Probes],
    run_watch: ResourceParam[RunWatch],  # noqa: ARG001 - to ask for it is all
) -> Iterator[CheckEvent]:
    """Asks the GitOps agent."""
    expected = _environments(asset_registry)
    look = probes.gitops_reconciled
    yield from _checked(context, GITOPS_RECONCILED, asset_registry, expected, look)


@multi_asset_check(specs=[SECRET_WITHIN_POLICY], retry_policy=CHECK_RETRY_POLICY)
def secret_within_policy(
    context: AssetCheckExecutionContext,
    asset_registry: ResourceParam[AssetRegistry],
    probes: ResourceParam[Probes],
    run_watch: ResourceParam[RunWatch],  # noqa: ARG001 - to ask for it is all
) -> Iterator[CheckEvent]:
    """Asks the secret store."""
    look = probes.secret_within_policy
    yield from _checked(
        context, SECRET_WITHIN_POLICY, asset_registry, _secrets(asset_registry), look
    )


ASSET_CHECKS = [repository_protected, bindings_present, gitops_reconciled, secret_within_policy]


@dataclass(frozen=True)
class Listed(Generic[Expected]):
    """A thing as the control plane lists it."""

    expected: Expected
    materialization: AssetMaterialization
    """What the catalog is to show of it."""


ById = dict[str, Expected]
ListedById = dict[str, Listed[Expected]]


def _environments(registry: AssetRegistry) -> Callable[[], ListedById[AppEnvExpected]]:
    return lambda: {
        each.expected.subject.application_environment_id: Listed(
            each.expected, listed_environment(each, registry.link)
        )
        for each in registry.application_environments()
    }


def _secrets(registry: AssetRegistry) -> Callable[[], ListedById[SecretExpected]]:
    return lambda: {
        each.expected.secret.secret_id: Listed(each.expected, listed_secret(each, registry.link))
        for each in registry.secrets()
    }


def _checked(
    context: AssetCheckExecutionContext,
    spec: AssetCheckSpec,
    registry: AssetRegistry,
    list_all: Callable[[], ListedById[Expected]],
    look: Callable[[Sequence[Expected]], Findings],
) -> Iterator[CheckEvent]:
    """Looks at all, tells the control plane, shows and marks what that did not leave out."""
    check = AssetCheckName(spec.name)
    with dagster_failures(check):
        read_at = SystemClock().now()
        asked = _aligned(context, spec.asset_key, list_all)
        # Read first: what is found is not of a materialization that comes meanwhile.
        shown = latest_materializations(context.instance, spec.asset_key, asked)
        found = looked_at({id_: each.expected for id_, each in asked.items()}, look)
        left_out = registry.keep_findings(check, read_at, found)
        findings = [each for each in found if each.id not in left_out]
        made = bring_up_to_date(
            context.instance,
            context.op_execution_context.log_event,
            spec.asset_key,
            shown=shown,
            listed={each.id: asked[each.id].materialization for each in findings},
        )
    targets = {**shown, **made}
    # Where Dagster shows one result for a check, it shows the newest: a failed one if there is any.
    for finding in sorted(findings, key=lambda each: not each.passed):
        yield evaluation(spec, finding, targets.get(finding.id))
    if not context.has_partition_key:
        yield whole_evaluation(spec, findings, left_out=len(found) - len(findings))
    yield Output(None, spec.get_python_identifier())


def _aligned(
    context: AssetCheckExecutionContext,
    asset: AssetKey,
    list_all: Callable[[], ListedById[Expected]],
) -> ListedById[Expected]:
    """What this run looks at, once the catalog shows what the control plane lists."""
    shown = partitions_of(context.instance, asset)
    listed = list_all()
    align_partitions(context.instance, asset, shown=shown, listed=listed)
    if not context.has_partition_key:
        return listed
    return {id_: each for id_, each in listed.items() if id_ == context.partition_key}


def looked_at(
    asked: ById[Expected], look: Callable[[Sequence[Expected]], Findings]
) -> list[Finding]:
    """A finding for each, in order; asks about as many at once as one call takes."""
    ids, expected = list(asked), list(asked.values())
    findings: list[Finding] = []
    for start in range(0, len(expected), CHECKS_PER_CALL):
        findings += look(expected[start : start + CHECKS_PER_CALL]).items
    if [finding.id for finding in findings] != ids:
        raise InvariantBroken("The findings are not of the things that were asked about.")
    return findings
