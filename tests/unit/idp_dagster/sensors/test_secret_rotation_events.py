"""What becomes of the events that ask for a rotation."""

from __future__ import annotations

import pytest
from dagster import DefaultSensorStatus, SensorResult, build_sensor_context
from structlog.testing import capture_logs

from idp_dagster.sensors.secret_rotation_events import secret_rotation_events_sensor
from idp_kernel.errors import Conflict, PlatformError, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import RotationCause, RotationRequested
from tests.unit.idp_dagster.fakes import FakeRotations


def cause(kind: str = "secret_expiring") -> RotationCause:
    return RotationCause(event_id=new_id(), type=kind, secret_id=new_id())


def look(rotations: FakeRotations, cursor: str | None = None) -> SensorResult:
    context = build_sensor_context(cursor=cursor)
    looked = secret_rotation_events_sensor(context, rotations=rotations)
    assert isinstance(looked, SensorResult)
    assert not looked.run_requests
    return looked


def told_of(rotations: FakeRotations) -> str:
    return str(look(rotations).skip_reason.skip_message)  # type: ignore[union-attr]


def test_it_works_unless_switched_off() -> None:
    assert secret_rotation_events_sensor.default_status is DefaultSensorStatus.RUNNING


def test_every_open_event_is_acted_on_and_told() -> None:
    expiring, compromised, settled = cause(), cause("secret_compromised"), cause()
    request_id = new_id()
    rotations = FakeRotations(
        open_causes=(expiring, compromised, settled),
        answers={
            compromised.event_id: RotationRequested(request_id=request_id),
            settled.event_id: RotationRequested(request_id=None),
        },
    )
    told = told_of(rotations)
    assert rotations.requested == [expiring.event_id, compromised.event_id, settled.event_id]
    assert f"secret_compromised of {compromised.secret_id}: {request_id}" in told
    assert f"{settled.secret_id}: settled without a request" in told


def test_no_event_is_said() -> None:
    assert told_of(FakeRotations()) == "No event asks for a rotation."


def test_a_refused_event_keeps_no_other_from_its_rotation() -> None:
    refused, good = cause(), cause()
    rotations = FakeRotations(
        open_causes=(refused, good),
        answers={refused.event_id: Conflict("In grace.", code="rotation_in_grace")},
    )
    told = told_of(rotations)
    assert rotations.requested == [good.event_id]
    assert f"{refused.secret_id}: refused for now (rotation_in_grace)" in told


def test_a_secret_that_is_being_changed_keeps_no_other_from_its_rotation() -> None:
    refused, held, good = cause(), cause(), cause()
    rotations = FakeRotations(
        open_causes=(refused, held, good),
        answers={
            refused.event_id: Conflict("In grace.", code="rotation_in_grace"),
            held.event_id: Unavailable("Somebody holds this row.", code="row_held"),
        },
    )
    looked = look(rotations)
    assert rotations.requested == [good.event_id]
    assert f"{held.secret_id}: refused for now (row_held)" in str(looked.skip_reason)
    assert set((looked.cursor or "").split()) == {
        f"{refused.event_id}/rotation_in_grace",
        f"{held.event_id}/row_held",
    }


def test_a_refusal_that_lasts_is_logged_once() -> None:
    refused = cause()
    rotations = FakeRotations(open_causes=(refused,))
    rotations.answers[refused.event_id] = Conflict("In grace.", code="rotation_in_grace")
    with capture_logs() as logs:
        first = look(rotations)
        second = look(rotations, first.cursor)
        rotations.answers[refused.event_id] = Conflict("Frozen.", code="environment_frozen")
        look(rotations, second.cursor)
    assert [entry["code"] for entry in logs] == ["rotation_in_grace", "environment_frozen"]
    assert {entry["event_id"] for entry in logs} == {refused.event_id}


@pytest.mark.parametrize("error", [Unavailable("away"), Conflict("no")])
def test_a_failed_look_is_a_failed_tick(error: PlatformError) -> None:
    with pytest.raises(type(error)):
        look(FakeRotations(errors=[error]))


def test_a_control_plane_that_goes_away_meanwhile_is_a_failed_tick() -> None:
    first, second = cause(), cause()
    rotations = FakeRotations(
        open_causes=(first, second), answers={second.event_id: Unavailable("away")}
    )
    with pytest.raises(Unavailable):
        look(rotations)
    assert rotations.requested == [first.event_id]
