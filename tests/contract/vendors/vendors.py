"""The vendors whose APIs describe themselves: a line for each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
SPECS_VARIABLE = "IDP_VENDOR_SPECS"
SUITES = "tests/integration/execution_workers/behaviour"
EXTERNAL_SECRETS = "external-secrets-externalsecret-crd.yaml"


@dataclass(frozen=True)
class Vendor:
    """Where a vendor's description is, and what brings about every call that is to be checked."""

    provider: str
    """As in the recorded calls."""
    descriptions: tuple[str, ...]
    """Files in the folder of descriptions, or what a suite leaves beside the calls it records: one
    of an API (OpenAPI 3 or Swagger 2), or definitions of Kubernetes' custom resources."""
    suites: tuple[str, ...]
    """Paths for pytest."""
    prefix: str = ""
    """Of paths as they are sent; the description has none."""
    one_parameter: tuple[str, ...] = ()
    """What follows these is a single parameter in the description, slashes and all."""
    incomplete: tuple[str, ...] = ()
    """Schemas of which the description has not all properties: others are let pass there."""
    left_out: tuple[str, ...] = ()
    """Paths that the vendor has and this description of it has not."""
    describes_itself: bool = False
    """Whether a suite leaves the description."""


VENDORS: tuple[Vendor, ...] = (
    Vendor(
        "gitea", ("forgejo-gitea.swagger.json",),
        (
            f"{SUITES}/test_gitea.py",
            f"{SUITES}/test_git_forge.py",
            f"{SUITES}/test_pull_requests.py",
        ),
        prefix="/api/v1",
        # Later versions of Gitea tell and take `enable_force_push`; it is sent to those only.
        incomplete=("EditBranchProtectionOption",),
    ),
    Vendor(
        "github", ("github-rest.openapi.json",),
        (
            f"{SUITES}/test_github.py",
            f"{SUITES}/test_git_forge.py",
            f"{SUITES}/test_pull_requests.py",
            f"{SUITES}/test_rulesets.py",
        ),
        prefix="/api/v3",
        # The file is cut down to repositories and what belongs to them.
        left_out=("/app",),
    ),
    Vendor(
        "harbor", ("harbor-v2.swagger.yaml",), (f"{SUITES}/test_credential_issuer.py",),
        prefix="/api/v2.0",
        # The registry's own way in.
        left_out=("/service/token",),
    ),
    Vendor("argocd", ("argocd.swagger.json",), (f"{SUITES}/test_argocd.py",)),
    Vendor(
        "flux", ("flux-kustomize.toolkit.fluxcd.io_kustomizations.yaml", EXTERNAL_SECRETS),
        (f"{SUITES}/test_flux.py",),
        # Of Flux's source controller, and of Kubernetes itself.
        left_out=(
            "/apis/source.toolkit.fluxcd.io/v1/gitrepositories",
            "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        ),
    ),
    Vendor(
        "external-secrets", (EXTERNAL_SECRETS,),
        ("tests/contract/vendors/test_external_secrets.py",),
    ),
    Vendor(
        "openbao", ("openbao.json",), ("tests/contract/vendors/test_openbao.py",),
        prefix="/v1", describes_itself=True,
        one_parameter=("/kv/data/", "/kv/delete/", "/kv/metadata/", "/kv/destroy/"),
        # It gives two paths the same name for their bodies, and keeps one body: `role/{name}` has
        # that of `cel/role/{name}`.
        incomplete=("JwtWriteRoleRequest",),
    ),
)  # fmt: skip


def descriptions_folder() -> Path:
    """The folder with the vendors' own descriptions, which are no part of the repository."""
    return Path(os.environ.get(SPECS_VARIABLE, ROOT.parent / "shared" / "specs"))
