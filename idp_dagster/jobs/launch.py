"""What a person types into the Launchpad; runs from the sensor leave it empty."""

from typing import Any

from dagster import Config, config_mapping
from pydantic import Field

from idp_dagster.ops.secret_rotation_enqueue import ScheduledTime, enqueue_due_rotations

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

_WHY = "Why, for the audit."


class ApplicationLaunch(Config):
    application_id: str = Field(
        default="", description="The application to onboard, or to decommission."
    )
    reason: str = Field(default="", description=_WHY)


class ApplicationEnvironmentLaunch(Config):
    application_environment_id: str = Field(
        default="", description="The application environment to provision, or to decommission."
    )
    reason: str = Field(default="", description=_WHY)


class SecretLaunch(Config):
    secret_id: str = Field(default="", description="The secret to rotate, or to revoke.")
    reason: str = Field(default="", description=_WHY)


class RequestLaunch(Config):
    request_id: str = Field(default="", description="The ended request to undo.")
    reason: str = Field(default="", description=_WHY)


@config_mapping
def application_launch(config: ApplicationLaunch) -> dict[str, Any]:
    return run_config(config.application_id, config.reason)


@config_mapping
def application_environment_launch(config: ApplicationEnvironmentLaunch) -> dict[str, Any]:
    return run_config(config.application_environment_id, config.reason)


@config_mapping
def secret_launch(config: SecretLaunch) -> dict[str, Any]:
    return run_config(config.secret_id, config.reason)


@config_mapping
def request_launch(config: RequestLaunch) -> dict[str, Any]:
    return run_config(config.request_id, config.reason)


def run_config(subject_id: str, reason: str) -> dict[str, Any]:
    """Hands both to the resource that asks the control plane, and asks for the platform's logger:
    Dagster uses its own unless a run's configuration names one.
    """
    launch = {"subject_id": subject_id, "reason": reason}
    return {"resources": {"control_plane": {"config": launch}}, **PLATFORM_LOGGER}


@config_mapping
def scheduled_time_launch(config: ScheduledTime) -> dict[str, Any]:
    ops = {enqueue_due_rotations.name: {"config": {"scheduled_at": config.scheduled_at}}}
    return {"ops": ops, **PLATFORM_LOGGER}


PLATFORM_LOGGER: dict[str, Any] = {"loggers": {"console": {}}}
