"""Has secrets rotated that are about to expire or are compromised."""

import structlog
from dagster import (
    DefaultSensorStatus,
    ResourceParam,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from idp_dagster.jobs.secret_rotation import secret_rotation
from idp_dagster.ports import Rotations
from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.wire.engine import ROW_HELD, RotationCause

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


_log = structlog.get_logger(__name__)


@sensor(
    jobs=[secret_rotation],
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
    description=(
        "Asks for a rotation for each `secret_expiring` and `secret_compromised`; the run comes "
        "with the request, through `workflow_requests_sensor`."
    ),
)
def secret_rotation_events_sensor(
    context: SensorEvaluationContext, rotations: ResourceParam[Rotations]
) -> SensorResult:
    """Acts on each open cause. One that is refused stays open, and keeps no other from it; so
    does one whose secret somebody else is changing at the moment.

    The cursor holds what was refused at the last look, so that a refusal that lasts is logged once.
    """
    logged = frozenset((context.cursor or "").split())
    told: list[str] = []
    refused: list[str] = []
    for cause in rotations.causes():
        about = f"{cause.type} of {cause.secret_id}"
        try:
            request_id = rotations.request(cause).request_id
        except PlatformError as error:
            if isinstance(error, Unavailable) and error.code != ROW_HELD:
                raise  # nor would the others get an answer
            refused.append(f"{cause.event_id}/{error.code}")
            if refused[-1] not in logged:
                _log_refusal(cause, error)
            told.append(f"{about}: refused for now ({error.code})")
        else:
            told.append(f"{about}: {request_id or 'settled without a request'}")
    reason = SkipReason("; ".join(told) or "No event asks for a rotation.")
    return SensorResult(skip_reason=reason, cursor=" ".join(refused))


def _log_refusal(cause: RotationCause, error: PlatformError) -> None:
    _log.warning(
        "rotation_refused",
        event_id=cause.event_id,
        secret_id=cause.secret_id,
        code=error.code,
        detail=error.message,
    )
