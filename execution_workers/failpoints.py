"""Where a test may hold this process still; see `idp_kernel.failpoints`."""

from __future__ import annotations

from idp_kernel.workflows import UNDOABLE_STEPS, Step

EFFECT_STEPS = (
    *sorted(UNDOABLE_STEPS),
    Step.ISSUE_NEW_CREDENTIAL,
    Step.UPDATE_SECRET_BINDINGS,
    Step.RETIRE_OLD_CREDENTIAL,
    Step.REMOVE_SECRET_BINDINGS,
    Step.END_CREDENTIALS,
    Step.ARCHIVE_ENVIRONMENT_REPOSITORY,
    Step.ARCHIVE_APPLICATION_REPOSITORIES,
)
"""The steps whose effects the ledger keeps; the others are probes, or the control plane's."""

REPOSITORY_CREATED = "execution-workers.materialize_repositories.after_create"
"""The forge has an empty repository, its seed commit is not pushed yet."""
TEAM_LET_IN = "execution-workers.provision_secrets.after_team"
"""The team's people may get in, there is nothing of the secret yet."""
SECRET_MARKED = "execution-workers.provision_secrets.after_marker"
"""The store has the secret's marker, its value is not written yet."""
SECRET_WRITTEN = "execution-workers.provision_secrets.after_value"
"""The store has the first credential, its issuer does not let it in yet."""
SECRET_REMOVED_AT_ISSUER = "execution-workers.provision_secrets.after_remove"
"""The issuer has nothing of the secret any more, the store has it still."""
ROTATION_MARKED = "execution-workers.issue_new_credential.after_marker"
"""The store knows who rotates the secret, the new version is not written yet."""
CREDENTIAL_WRITTEN = "execution-workers.issue_new_credential.after_value"
"""The store has the new version, its issuer does not let it in yet."""
PROJECT_CREATED = "execution-workers.provision_secrets.after_project"
"""The registry has the team's project, without the platform's label yet."""
ROBOT_CREATED = "execution-workers.issue_new_credential.after_robot"
"""The registry has a robot whose secret nobody knows yet."""
ROBOT_SECRET_SET = "execution-workers.issue_new_credential.after_secret"
"""The robot has the credential's secret, its description does not say so yet."""
CREDENTIAL_INSTALLED = "execution-workers.issue_new_credential.after_install"
"""The issuer lets the new credential in, sessions of its elder are not ended yet."""
"""The issuer lets the undone credential in no more, its version is not destroyed yet."""
PINS_SEEN = "execution-workers.retire_old_credential.after_pins"
"""Every binding pins what is to stay, nothing is retired yet."""
LOGIN_DISABLED = "execution-workers.retire_old_credential.after_disable"
"""The old login is refused, its sessions are not ended yet."""
LOGIN_RETIRED = "execution-workers.retire_old_credential.after_issuer"
"""The issuer has retired the old credential, its versions are not destroyed yet."""

CREDENTIALS_ENDED_AT_ISSUER = "execution-workers.end_credentials.after_issuer"
"""The issuer lets no login of the secret in, its versions are not destroyed yet."""


def after_provider(step: Step) -> str:
    """The provider has done it, the ledger does not know yet."""
    return f"execution-workers.{step}.after_provider"


def after_undo(step: Step) -> str:
    """The provider has undone it, the ledger does not know yet."""
    return f"execution-workers.{step}.after_undo"


FAILPOINTS = (
    *(after_provider(step) for step in EFFECT_STEPS),
    *(after_undo(step) for step in sorted(UNDOABLE_STEPS)),
    REPOSITORY_CREATED,
    TEAM_LET_IN,
    SECRET_MARKED,
    SECRET_WRITTEN,
    SECRET_REMOVED_AT_ISSUER,
    ROTATION_MARKED,
    CREDENTIAL_WRITTEN,
    PROJECT_CREATED,
    ROBOT_CREATED,
    ROBOT_SECRET_SET,
    CREDENTIAL_INSTALLED,
    PINS_SEEN,
    LOGIN_DISABLED,
    LOGIN_RETIRED,
    CREDENTIALS_ENDED_AT_ISSUER,
)
