"""A Dagster run as the control plane sees one: it claims, tells, waits, finalizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idp_kernel.ids import new_id
from idp_kernel.workflows import (
    APPLICATION_ENVIRONMENT_PROVISIONING,
    WORKFLOWS,
    Step,
    WorkflowName,
)

if TYPE_CHECKING:
    from tests.integration.control_plane.conftest import Caller, Platform

STEPS = APPLICATION_ENVIRONMENT_PROVISIONING.steps
REVISION = "a" * 40


@dataclass
class EngineRun:
    """One run that holds a claim."""

    platform: Platform
    claim: Any

    @property
    def request_id(self) -> str:
        return str(self.claim["requestId"])

    @property
    def run_id(self) -> str:
        return str(self.claim["runId"])

    @property
    def caller(self) -> Caller:
        return self.platform.bearer(self.claim["runToken"])

    def say(self, what: str, **more: Any) -> Any:
        """The raw answer to what the run says of its request."""
        body = {"runId": self.run_id, "attempt": self.claim["attempt"], **more}
        if what == "lease":
            body.pop("attempt")
        return self.caller.post(f"/internal/workflow-requests/{self.request_id}/{what}", body)

    def tell(self, what: str, **more: Any) -> str:
        """The request's state after what the run says."""
        answer = self.say(what, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["state"])

    def start(self, step: Step, retry_number: int = 0) -> str:
        return self.tell(f"steps/{step}/start", retryNumber=retry_number)

    def end(self, step: Step, retry_number: int = 0, **more: Any) -> str:
        result = self.results().get(step, {})
        return self.tell(
            f"steps/{step}/outcome", **{"retryNumber": retry_number, "result": result, **more}
        )

    def fail(self, step: Step, *, retryable: bool, code: str = "boom") -> str:
        error = {"code": code, "message": f"{step}: it broke", "retryable": retryable}
        return self.end(step, result={}, error=error)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of this run's phase."""
        return WORKFLOWS[self.claim["workflow"]].phase(self.claim["phase"]).steps

    def do_all(self, steps: tuple[Step, ...] | None = None) -> None:
        """Every step but the last, unless told which."""
        for step in self.steps[:-1] if steps is None else steps:
            self.start(step)
            self.end(step)

    def declare_environments(self) -> dict[str, str]:
        """Environment to application environment, as the run of an onboarding declares them."""
        answer = self.say("declare-environments")
        assert answer.status_code == 200, answer.text
        ids: dict[str, str] = answer.json()["ids"]
        return ids

    def await_approval(self) -> bool:
        """Whether the run ends here, as that of an onboarding asks first."""
        answer = self.say("await-approval")
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["waits"])

    def end_phase(self) -> Any:
        return self.say("end-phase", outcomes=self.outcomes())

    def finalize(self) -> Any:
        return self.say("finalize", outcomes=self.outcomes())

    def results(self) -> dict[Step, Any]:
        """What execution-workers would have answered for each step."""
        answer = _RESULTS.get(self.claim["workflow"])
        return {} if answer is None else answer(self.claim["desiredState"])

    def outcomes(self) -> dict[Step, Any]:
        """What it says at its end."""
        results = self.results()
        return {step: results.get(step, {}) for step in self.steps[:-1]}


def onboarding_results(wanted: Any) -> dict[Step, Any]:
    def created(kind: str) -> Any:
        repository = wanted[kind]
        url = f"http://forge/{repository['owner']}/{repository['name']}.git"
        item = f"repository/{repository['repositoryId']}"
        return {
            "items": [{"item": item, "effect": "created", "references": {"url": url}}],
            "events": ["git_repository_created"],
        }

    return {
        Step.CREATE_CODE_REPOSITORY: created("codeRepository"),
        Step.CREATE_DEPLOYMENT_REPOSITORY: created("deploymentRepository"),
        Step.SEED_REPOSITORIES: {"events": ["git_repository_seeded"]},
        Step.APPLY_REPOSITORY_PROTECTION: {"events": ["git_branch_protection_applied"]},
    }


def provisioning_results(wanted: Any) -> dict[Step, Any]:
    repository = wanted["repository"]["repositoryId"]
    return {
        Step.MATERIALIZE_REPOSITORIES: {
            "items": [
                {
                    "item": f"repository/{repository}",
                    "effect": "created",
                    "references": {"url": "http://forge/r.git", "revision": "b" * 40},
                }
            ],
            "events": ["git_repository_created"],
        },
        Step.APPLY_BRANCH_PROTECTION: {"events": ["git_branch_protection_applied"]},
        Step.PROVISION_SECRETS: {
            "items": [
                {
                    "item": f"secret/{secret['secretId']}",
                    "effect": "created",
                    "references": {"storePath": f"kv/{secret['name']}", "version": 3},
                }
                for secret in wanted["secrets"]
            ],
            "events": ["secret_store_secret_written"],
        },
        Step.CREATE_SECRET_BINDINGS: {
            "items": [
                {"item": "bindings/x", "effect": "created", "references": {"revision": REVISION}}
            ],
            "events": ["git_secret_bindings_committed"],
        },
        Step.VERIFY_GITOPS_RECONCILIATION: {"events": ["gitops_reconciliation_verified"]},
    }


def undo_results(wanted: Any) -> dict[Step, Any]:
    """Everything that the steps named is gone."""
    named = [each["item"] for step in wanted["steps"] for each in step["result"]["items"]]
    return {Step.UNDO_EFFECTS: {"items": [{"item": each, "effect": "undone"} for each in named]}}


def ending_results(wanted: Any) -> dict[Step, Any]:
    """Every secret's binding removed, one commit for each, and every credential ended."""
    return {
        Step.REMOVE_SECRET_BINDINGS: {
            "items": [
                {
                    "item": f"binding/{secret['bindings'][0]['bindingId']}",
                    "effect": "created",
                    "references": {"revision": f"{number:040x}"},
                }
                for number, secret in enumerate(wanted["secrets"], start=1)
            ],
            "events": ["git_secret_bindings_removed"],
        },
        Step.END_CREDENTIALS: {
            "items": [
                {
                    "item": f"ending/{secret['secret']['secretId']}",
                    "effect": "created",
                    "references": {"destroyedVersions": 1, "endedSessions": 0},
                }
                for secret in wanted["secrets"]
            ],
            "events": ["credential_issuer_credentials_ended"],
        },
    }


def archiving_results(wanted: Any) -> dict[Step, Any]:
    """Every repository archived."""
    return {
        Step.ARCHIVE_APPLICATION_REPOSITORIES: {
            "items": [
                {
                    "item": f"archive/{each['repositoryId']}",
                    "effect": "created",
                    "references": {"name": each["name"], "owner": each["owner"]},
                }
                for each in wanted["repositories"]
            ],
            "events": ["git_repository_archived"],
        }
    }


_RESULTS: dict[str, Callable[[Any], dict[Step, Any]]] = {
    WorkflowName.APPLICATION_ONBOARDING: onboarding_results,
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: provisioning_results,
    WorkflowName.SECRET_REVOCATION: ending_results,
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: ending_results,
    WorkflowName.APPLICATION_DECOMMISSIONING: archiving_results,
    WorkflowName.COMPENSATION: undo_results,
}


def offers(platform: Platform, limit: int = 100) -> dict[str, Any]:
    """What is offered just now, by request id."""
    answer = platform.engine_service.post("/internal/offers", {"waitSeconds": 0, "limit": limit})
    assert answer.status_code == 200, answer.text
    return {offer["requestId"]: offer for offer in answer.json()["offers"]}


def ask_claim(platform: Platform, request_id: str, run_id: str, attempt: int = 1) -> Any:
    """The raw answer to a claim."""
    return platform.engine_service.post(
        f"/internal/workflow-requests/{request_id}/claim", {"runId": run_id, "attempt": attempt}
    )


def claimed(
    platform: Platform, request_id: str, *, run_id: str | None = None, attempt: int = 1
) -> EngineRun:
    """A run that holds the request."""
    answer = ask_claim(platform, request_id, run_id or new_id(), attempt)
    assert answer.status_code == 200, answer.text
    return EngineRun(platform, answer.json())


def keeping(platform: Platform, undo_id: str, kept: dict[str, Any]) -> None:
    """An undo that the workers let have all but that item."""
    run = claimed(platform, undo_id)
    items = run.results()[Step.UNDO_EFFECTS]["items"]
    told = [{**each, **(kept if each["item"] == kept["item"] else {})} for each in items]
    run.start(Step.UNDO_EFFECTS)
    run.end(Step.UNDO_EFFECTS, result={"items": told})
    run.do_all((Step.STOP_UNDONE_REQUEST, Step.VERIFY_NOTHING_LEFT))
    assert run.finalize().json()["state"] == "succeeded"


def report(platform: Platform, run: EngineRun, ending: str, **more: Any) -> Any:
    """What becomes of the report that the run ended."""
    body = {
        "requestId": run.request_id,
        "runId": run.run_id,
        "attempt": run.claim["attempt"],
        "ending": ending,
        **more,
    }
    answer = platform.engine_service.post("/internal/run-reports", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def launch(platform: Platform, **body: Any) -> Any:
    """The raw answer to a launch from the UI."""
    workflow = "ApplicationEnvironmentProvisioning"
    return platform.engine_service.post(
        "/internal/launches", {"runId": new_id(), "workflow": workflow, **body}
    )
