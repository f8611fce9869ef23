"""A small control plane and execution-workers over HTTP, as the engine sees them.

It keeps one claim per request, gives out run tokens that say nothing, and notes every call. How the
workers answer can be bent by the test: `stand_in_workers.Script`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Query
from prometheus_client import CollectorRegistry

from idp_kernel.errors import Conflict, NotFound, PlatformError
from idp_kernel.http.server import new_server
from idp_kernel.ids import new_id
from idp_kernel.services import LOOPBACK, ServiceName
from idp_kernel.wire import engine
from idp_kernel.workflows import RequestState, Step, WorkflowName
from tests.integration.idp_dagster.desired_states import DESIRED_STATES, TRACEPARENT
from tests.integration.idp_dagster.stand_in_workers import StoodInWorkers, add_checks, add_workers

LEASE_SECONDS = 8.0
HEARTBEAT_SECONDS = 1.0
OFFER_AGAIN_SECONDS = 6.0


@dataclass
class StoodInRequest:
    """A request and all that the engine said of it."""

    subject_id: str
    workflow: WorkflowName = WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING
    wanted: engine.DesiredState = field(init=False)
    phase: int = 1
    id: str = field(default_factory=new_id)
    state: RequestState = RequestState.PENDING
    attempt: int = 1
    fence: int = 0
    run_id: str | None = None
    lease_expires_at: datetime | None = None
    cancel_requested: bool = False
    offered_at: float | None = None
    created_at: float = field(default_factory=time.monotonic)
    moments: dict[str, float] = field(default_factory=dict)
    """Seconds after the request: `offered`, `claimed`, `first_step`, `finalized`."""
    runs: list[str] = field(default_factory=list)
    results: dict[Step, engine.StepResult] = field(default_factory=dict)
    started: list[tuple[int, Step, int]] = field(default_factory=list)
    """Attempt, step, retry number."""
    failures: list[tuple[int, Step, engine.StepError]] = field(default_factory=list)
    reports: list[engine.RunReport] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wanted = DESIRED_STATES[self.workflow](self.subject_id)

    def note(self, moment: str) -> None:
        self.moments.setdefault(moment, time.monotonic() - self.created_at)


@dataclass
class Rotations:
    """What asks for rotations, and what the engine asked."""

    scheduled: list[datetime] = field(default_factory=list)
    causes: list[engine.RotationCause] = field(default_factory=list)
    refused: dict[str, PlatformError] = field(default_factory=dict)
    """By event id: what acting on it is answered with."""


@dataclass
class Catalog:
    """What the asset catalog is to show, and what checks found."""

    environments: list[engine.AppEnvAsset] = field(default_factory=list)
    secrets: list[engine.SecretAsset] = field(default_factory=list)
    results: list[engine.CheckResults] = field(default_factory=list)
    at_work_on: set[str] = field(default_factory=set)
    """What a request is at work on."""


class StandIn:
    """The state behind the routes."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.requests: dict[str, StoodInRequest] = {}
        self.lost: list[engine.LostRun] = []
        self.workers = StoodInWorkers()
        self.rotations = Rotations()
        self.catalog = Catalog()
        self.url = ""

    def add_request(
        self, workflow: WorkflowName = WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING
    ) -> StoodInRequest:
        request = StoodInRequest(new_id(), workflow)
        with self.lock:
            self.requests[request.id] = request
            self.lock.notify_all()
        return request

    def offer_again(self, request: StoodInRequest) -> None:
        """The next attempt of a request that was released."""
        with self.lock:
            request.attempt += 1
            request.run_id, request.offered_at = None, None
            request.state = RequestState.PENDING
            self.lock.notify_all()

    wake = offer_again
    """The grace period is over."""

    def wait_for(
        self, condition: object, seconds: float = 60.0, *, look_every_seconds: float = 0.02
    ) -> None:
        """Until `condition()` is true; fails with all that was seen."""
        assert callable(condition)
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{self.requests} {self.workers.calls}"
            time.sleep(look_every_seconds)

    def offers(self, ask: engine.AskOffers) -> engine.Offers:
        with self.lock:
            end = time.monotonic() + ask.wait_seconds
            while not self._offerable() and time.monotonic() < end:
                self.lock.wait(0.5)
            offerable = self._offerable()
            for request in offerable:
                request.offered_at = time.monotonic()
                request.note("offered")
            return engine.Offers(offers=tuple(map(self._offer, offerable)))

    def claim(self, request: StoodInRequest, run_id: str, attempt: int) -> engine.Claim:
        with self.lock:
            taken = request.run_id not in (None, run_id)
            if taken or request.attempt != attempt or request.state not in _OPEN:
                raise Conflict(
                    f"Request {request.id} is {request.state} at attempt {request.attempt}, held "
                    f"by run {request.run_id}.",
                    code="already_claimed",
                    details={"state": request.state},
                )
            request.note("claimed")
            request.run_id, request.state = run_id, RequestState.RUNNING
            request.fence += 1
            request.runs.append(run_id)
            self._prolong(request)
            return self._claim(request)

    def launch(self, launch: engine.Launch) -> engine.Claim:
        parents = [each for each in self.requests.values() if launch.parent_run_id in each.runs]
        phase = parents[0].phase if parents else 1
        if launch.phase != phase:
            raise Conflict(f"The request is in phase {phase}.", code="wrong_phase")
        if parents:
            request = parents[0]
            if request.state in _OPEN:
                raise Conflict(f"Request {request.id} is active.", code="workflow_active")
            request.attempt, request.run_id = request.attempt + 1, None
            request.state, request.offered_at = RequestState.PENDING, time.monotonic()
        else:
            assert launch.subject_id is not None
            request = StoodInRequest(
                launch.subject_id, launch.workflow, offered_at=time.monotonic()
            )
            self.requests[request.id] = request
        request.reasons.append(launch.reason)
        return self.claim(request, launch.run_id, request.attempt)

    def renew(self, request_id: str, renewal: engine.LeaseRenewal) -> engine.Lease:
        request = self.held(request_id, renewal.run_id)
        with self.lock:
            expires_at = self._prolong(request)
        return engine.Lease(
            run_token=f"run-token-{request.id}",
            lease_expires_at=expires_at,
            cancel_requested=request.cancel_requested,
        )

    def held(self, request_id: str, run_id: str) -> StoodInRequest:
        request = self.requests[request_id]
        if request.run_id != run_id or request.state is not RequestState.RUNNING:
            raise Conflict(f"Run {run_id} does not hold {request_id}.", code="claim_lost")
        return request

    def report(self, report: engine.RunReport) -> engine.RunReported:
        with self.lock:
            request = self.requests[report.request_id]
            request.reports.append(report)
            self.lost = [lost for lost in self.lost if lost.run_id != report.run_id]
            holds = request.run_id == report.run_id and request.state is RequestState.RUNNING
            if holds:
                canceled = report.ending is engine.RunEnding.CANCELED
                request.state = RequestState.CANCELLED if canceled else RequestState.FAILED
            return engine.RunReported(accepted=holds, state=request.state)

    def lost_runs(self, wait_seconds: float) -> engine.LostRuns:
        with self.lock:
            self.lock.wait_for(lambda: self.lost, wait_seconds)
            return engine.LostRuns(runs=tuple(self.lost))

    def lose(self, lost: engine.LostRun) -> None:
        """The request was taken from its run."""
        with self.lock:
            self.lost.append(lost)
            self.lock.notify_all()

    def standing(self, run_id: str) -> engine.RunStanding:
        for request in self.requests.values():
            if run_id in request.runs:
                holds = request.run_id == run_id and request.state is RequestState.RUNNING
                return engine.RunStanding(
                    run_id=run_id,
                    request_id=request.id,
                    attempt=request.attempt,
                    holds_claim=holds,
                    lease_expires_at=request.lease_expires_at if holds else None,
                )
        raise NotFound("No such run.")

    def _offerable(self) -> list[StoodInRequest]:
        return [
            each
            for each in self.requests.values()
            if each.state is RequestState.PENDING and self._is_due(each)
        ]

    @staticmethod
    def _is_due(request: StoodInRequest) -> bool:
        offered_at = request.offered_at
        return offered_at is None or time.monotonic() - offered_at > OFFER_AGAIN_SECONDS

    def _offer(self, request: StoodInRequest) -> engine.Offer:
        return engine.Offer(
            request_id=request.id,
            attempt=request.attempt,
            phase=request.phase,
            workflow=request.workflow,
            team_id=TEAM_ID,
            application_id=APPLICATION_ID,
            application_environment_id=_environment_id(request),
            secret_id=_secret_id(request),
            pending_since=datetime.now(UTC),
            traceparent=TRACEPARENT,
        )

    def _prolong(self, request: StoodInRequest) -> datetime:
        request.lease_expires_at = datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)
        return request.lease_expires_at

    def _claim(self, request: StoodInRequest) -> engine.Claim:
        assert request.run_id is not None
        assert request.lease_expires_at is not None
        return engine.Claim(
            request_id=request.id,
            workflow=request.workflow,
            run_id=request.run_id,
            attempt=request.attempt,
            phase=request.phase,
            generation=1,
            fence=request.fence,
            run_token=f"run-token-{request.id}",
            lease_expires_at=request.lease_expires_at,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            deadline_at=datetime.now(UTC) + timedelta(minutes=30),
            team_id=TEAM_ID,
            application_id=APPLICATION_ID,
            application_environment_id=_environment_id(request),
            secret_id=_secret_id(request),
            desired_state=request.wanted,
            outcomes=request.results,
            traceparent=TRACEPARENT,
        )


_OPEN = (RequestState.PENDING, RequestState.RUNNING, RequestState.WAITING)
TEAM_ID, APPLICATION_ID = new_id(), new_id()


def _environment_id(request: StoodInRequest) -> str | None:
    subject = request.wanted.subject
    return getattr(subject, "application_environment_id", None)


def _secret_id(request: StoodInRequest) -> str | None:
    of_secret = (WorkflowName.SECRET_ROTATION, WorkflowName.SECRET_REVOCATION)
    return request.subject_id if request.workflow in of_secret else None


def stand_in_app(stand_in: StandIn) -> FastAPI:
    """The routes of both services."""
    app = new_server(
        service=ServiceName.CONTROL_PLANE_API,
        env="test",
        registry=CollectorRegistry(),
        is_ready=lambda: None,
        description="stand-in",
    )
    _add_control_plane(app, stand_in)
    _add_run_routes(app, stand_in)
    _add_rotations(app, stand_in)
    _add_catalog(app, stand_in)
    add_workers(app, stand_in.workers)
    add_checks(app, stand_in.workers)
    return app


def _add_control_plane(app: FastAPI, stand_in: StandIn) -> None:
    @app.post(engine.TOKENS)
    def tokens(_: engine.ServiceAssertion) -> engine.ServiceToken:
        expires_at = datetime.now(UTC) + timedelta(minutes=5)
        return engine.ServiceToken(access_token="service-token", expires_at=expires_at)

    @app.post(engine.OFFERS)
    def offers(body: engine.AskOffers) -> engine.Offers:
        return stand_in.offers(body)

    @app.post(engine.LAUNCHES)
    def launches(body: engine.Launch) -> engine.Claim:
        return stand_in.launch(body)

    @app.post(engine.CLAIM)
    def claim(request_id: str, body: engine.ClaimRequest) -> engine.Claim:
        return stand_in.claim(stand_in.requests[request_id], body.run_id, body.attempt)

    @app.post(engine.RUN_REPORTS)
    def reports(body: engine.RunReport) -> engine.RunReported:
        return stand_in.report(body)

    @app.get(engine.RUN_STATUS)
    def standing(run_id: str) -> engine.RunStanding:
        return stand_in.standing(run_id)

    @app.get(engine.LOST_RUNS)
    def lost_runs(wait_seconds: Annotated[float, Query(alias="waitSeconds")]) -> engine.LostRuns:
        return stand_in.lost_runs(wait_seconds)


def _add_run_routes(app: FastAPI, stand_in: StandIn) -> None:
    @app.post(engine.LEASE)
    def lease(request_id: str, body: engine.LeaseRenewal) -> engine.Lease:
        return stand_in.renew(request_id, body)

    @app.post(engine.STEP_START)
    def start(request_id: str, step: Step, body: engine.StepStarted) -> engine.RequestStanding:
        request = stand_in.held(request_id, body.run_id)
        request.note("first_step")
        request.started.append((body.attempt, step, body.retry_number))
        return _standing(request)

    @app.post(engine.STEP_OUTCOME)
    def outcome(request_id: str, step: Step, body: engine.StepOutcome) -> engine.RequestStanding:
        request = stand_in.held(request_id, body.run_id)
        if body.error is not None:
            request.failures.append((body.attempt, step, body.error))
            request.state = RequestState.FAILED
        else:
            request.results[step] = body.result
        return _standing(request)

    @app.post(engine.WAIT)
    def wait(request_id: str, body: engine.WaitRequested) -> engine.RequestStanding:
        request = stand_in.held(request_id, body.run_id)
        request.state = RequestState.WAITING
        request.reasons.append(body.reason)
        return _standing(request)

    @app.post(engine.END_PHASE)
    def end_phase(request_id: str, body: engine.EndPhase) -> engine.RequestStanding:
        request = stand_in.held(request_id, body.run_id)
        request.results.update(body.outcomes)
        request.phase, request.state = request.phase + 1, RequestState.WAITING
        request.reasons.append("rotation_grace")
        return _standing(request)

    @app.post(engine.DECLARE_ENVIRONMENTS)
    def declare(request_id: str, body: engine.DeclareEnvironments) -> engine.DeclaredEnvironments:
        wanted = stand_in.held(request_id, body.run_id).wanted
        assert isinstance(wanted, engine.OnboardingDesiredState)
        ids = {each.environment: new_id() for each in wanted.environments}
        return engine.DeclaredEnvironments(ids=ids)

    @app.post(engine.FINALIZE)
    def finalize(request_id: str, body: engine.Finalize) -> engine.RequestStanding:
        request = stand_in.held(request_id, body.run_id)
        request.results.update(body.outcomes)
        request.state = RequestState.SUCCEEDED
        request.note("finalized")
        return _standing(request)


def _standing(request: StoodInRequest) -> engine.RequestStanding:
    return engine.RequestStanding(request_id=request.id, state=request.state)


def _add_rotations(app: FastAPI, stand_in: StandIn) -> None:
    @app.post(engine.DUE_ROTATIONS)
    def due(body: engine.EnqueueDueRotations) -> engine.DueRotations:
        stand_in.rotations.scheduled.append(body.scheduled_at)
        return engine.DueRotations(enqueued=(), put_off=0)

    @app.get(engine.ROTATION_CAUSES)
    def causes() -> engine.RotationCauses:
        return engine.RotationCauses(causes=tuple(stand_in.rotations.causes))

    @app.post(engine.ROTATIONS)
    def rotate(body: engine.RequestRotation) -> engine.RotationRequested:
        rotations = stand_in.rotations
        if body.event_id in rotations.refused:
            raise rotations.refused[body.event_id]
        request = stand_in.add_request(WorkflowName.SECRET_ROTATION)
        rotations.causes = [each for each in rotations.causes if each.event_id != body.event_id]
        return engine.RotationRequested(request_id=request.id)


PAGE_SIZE = 100


def _add_catalog(app: FastAPI, stand_in: StandIn) -> None:
    catalog = stand_in.catalog

    @app.get(engine.ASSET_APPLICATION_ENVIRONMENTS)
    def environments(cursor: int = 0) -> engine.AppEnvAssets:
        page = tuple(catalog.environments[cursor : cursor + PAGE_SIZE])
        more = cursor + PAGE_SIZE < len(catalog.environments)
        return engine.AppEnvAssets(
            items=page, next_cursor=str(cursor + PAGE_SIZE) if more else None
        )

    @app.get(engine.ASSET_SECRETS)
    def secrets(cursor: int = 0) -> engine.SecretAssets:
        page = tuple(catalog.secrets[cursor : cursor + PAGE_SIZE])
        more = cursor + PAGE_SIZE < len(catalog.secrets)
        return engine.SecretAssets(
            items=page, next_cursor=str(cursor + PAGE_SIZE) if more else None
        )

    @app.post(engine.CHECK_RESULTS)
    def results(body: engine.CheckResults) -> engine.CheckResultsKept:
        catalog.results.append(body)
        left_out = (each.id for each in body.findings if each.id in catalog.at_work_on)
        return engine.CheckResultsKept(changed=(), left_out=tuple(left_out))


@contextmanager
def serving(stand_in: StandIn, port: int) -> Iterator[StandIn]:
    """Both services on one port of loopback, in a thread."""
    config = uvicorn.Config(
        stand_in_app(stand_in), host=LOOPBACK, port=port, log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    stand_in.url = f"http://{LOOPBACK}:{port}"
    stand_in.wait_for(lambda: server.started)
    try:
        yield stand_in
    finally:
        server.should_exit = True
        thread.join(20)
