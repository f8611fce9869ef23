"""Secrets that are in use, and runs that rotate them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from idp_kernel.ids import new_id
from idp_kernel.workflows import Step
from tests.integration.control_plane.conftest import Platform, Subject
from tests.integration.control_plane.engine_run import EngineRun, ask_claim, claimed

DAY_SECONDS = 24 * 3600


@dataclass
class RotationRun(EngineRun):
    """A run of either phase of a rotation."""

    version: int
    """The new one."""
    takes_persons: bool = False
    """Whether the new one is what a person has set."""

    @property
    def revision(self) -> str:
        return f"{self.version:040x}"

    def outcomes(self) -> dict[Step, Any]:
        """Those of all steps: the last one of a phase has one too."""
        results = self.results()
        return {step: results.get(step, {}) for step in self.steps}

    def results(self) -> dict[Step, Any]:
        wanted = self.claim["desiredState"]
        secret_id = wanted["secret"]["secretId"]
        return {
            Step.ISSUE_NEW_CREDENTIAL: {
                "items": [
                    {
                        "item": f"credential/{secret_id}",
                        "effect": "created",
                        "references": {"version": self.version},
                        **({"effect": "adopted", "createdBy": ""} if self.takes_persons else {}),
                    }
                ],
                "events": ["credential_issuer_credential_issued"],
            },
            Step.VERIFY_NEW_CREDENTIAL: {"events": ["credential_issuer_credential_verified"]},
            Step.UPDATE_SECRET_BINDINGS: {
                "items": [
                    {
                        "item": f"binding/{target['bindingId']}",
                        "effect": "created",
                        "references": {"version": self.version, "revision": self.revision},
                    }
                    for target in wanted["bindings"]
                ],
                "events": ["git_secret_bindings_updated"],
            },
            Step.CONFIRM_CONSUMERS: {"events": ["gitops_consumers_confirmed"]},
            Step.RETIRE_OLD_CREDENTIAL: {"events": ["credential_issuer_credential_retired"]},
        }


@dataclass(frozen=True)
class SecretInUse:
    """A secret with a value."""

    id: str
    subject: Subject
    environment_id: str


def secrets_in_use(platform: Platform, *names: str, **declared: Any) -> list[SecretInUse]:
    """Secrets of one new environment that was provisioned."""
    subject = platform.new_subject()
    body = {
        "environment": subject.environment,
        "secrets": [{"name": name, **declared} for name in names],
    }
    path = f"/v1/applications/{subject.application_id}/environments"
    run = claimed(platform, platform.admin.ok(path, body)["requestId"])
    run.do_all()
    run.finalize()
    environment = platform.environment_of(run.request_id)
    return [SecretInUse(each["id"], subject, environment["id"]) for each in environment["secrets"]]


def secret_in_use(platform: Platform, **declared: Any) -> SecretInUse:
    return secrets_in_use(platform, "app-key", **declared)[0]


def seen(platform: Platform, secret: SecretInUse) -> Any:
    return platform.admin.seen(f"/v1/secrets/{secret.id}")


def set_policy(platform: Platform, secret: SecretInUse, **policy: Any) -> Any:
    answer = platform.admin.put(f"/v1/secrets/{secret.id}/rotation-policy", policy)
    assert answer.status_code == 200, answer.text
    return answer.json()["rotationPolicy"]


def ask_rotation(platform: Platform, secret: SecretInUse, **body: Any) -> Any:
    """The raw answer to the command."""
    return platform.admin.post(f"/v1/secrets/{secret.id}/rotation", body)


def rotation_of(platform: Platform, secret: SecretInUse, **body: Any) -> str:
    """The id of a new rotation."""
    answer = ask_rotation(platform, secret, **body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["requestId"])


def rotating(platform: Platform, request_id: str, attempt: int = 1) -> RotationRun:
    """A run that holds the rotation, in whichever phase it is."""
    answer = ask_claim(platform, request_id, new_id(), attempt)
    assert answer.status_code == 200, answer.text
    claim = answer.json()
    known = claim["outcomes"].get(Step.UPDATE_SECRET_BINDINGS)
    if known is not None:
        return RotationRun(platform, claim, known["items"][0]["references"]["version"])
    present = platform.admin.seen(f"/v1/secrets/{claim['secretId']}")["version"]
    return RotationRun(platform, claim, present + 1)


def in_grace(platform: Platform, secret: SecretInUse, **body: Any) -> str:
    """The id of a rotation that has ended its first phase."""
    request_id = rotation_of(platform, secret, **body)
    run = rotating(platform, request_id)
    run.do_all()
    assert run.end_phase().json()["state"] == "waiting"
    return request_id


def retire(platform: Platform, request_id: str, attempt: int = 2) -> None:
    """The second phase of a rotation that was woken."""
    run = rotating(platform, request_id, attempt)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
