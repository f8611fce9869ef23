"""Where a test may hold this process still; see `idp_kernel.failpoints`."""

from __future__ import annotations

from idp_kernel.workflows import Step

EFFECT_STEPS = (
    Step.MATERIALIZE_REPOSITORIES,
    Step.APPLY_BRANCH_PROTECTION,
    Step.PROVISION_SECRETS,
    Step.CREATE_SECRET_BINDINGS,
)
"""The steps whose effects the ledger keeps; verifying is a probe."""

REPOSITORY_CREATED = "execution-workers.materialize_repositories.after_create"
"""The forge has an empty repository, its seed commit is not pushed yet."""
SECRET_MARKED = "execution-workers.provision_secrets.after_marker"
"""The store has the secret's marker, its value is not written yet."""


def after_provider(step: Step) -> str:
    """The provider has done it, the ledger does not know yet."""
    return f"execution-workers.{step}.after_provider"


def after_undo(step: Step) -> str:
    """The provider has undone it, the ledger does not know yet."""
    return f"execution-workers.{step}.after_undo"


FAILPOINTS = (
    *(after_provider(step) for step in EFFECT_STEPS),
    *(after_undo(step) for step in EFFECT_STEPS),
    REPOSITORY_CREATED,
    SECRET_MARKED,
)
