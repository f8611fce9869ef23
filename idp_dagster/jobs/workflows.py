"""The jobs that carry out requests: one for each phase of each workflow."""

from idp_dagster.jobs.appenv_decommissioning import application_environment_decommissioning
from idp_dagster.jobs.appenv_provisioning import application_environment_provisioning
from idp_dagster.jobs.application_decommissioning import application_decommissioning
from idp_dagster.jobs.compensation import compensation
from idp_dagster.jobs.onboarding import application_onboarding
from idp_dagster.jobs.secret_revocation import secret_revocation
from idp_dagster.jobs.secret_rotation import secret_rotation, secret_rotation_retirement

WORKFLOW_JOBS = [
    application_onboarding,
    application_environment_provisioning,
    application_environment_decommissioning,
    secret_rotation,
    secret_rotation_retirement,
    secret_revocation,
    application_decommissioning,
    compensation,
]
