"""Every kind of binding that is committed, as the GitOps agent hands it to the cluster."""

from __future__ import annotations

import pytest
import yaml

from execution_workers.manifests import binding_manifest
from idp_kernel.ids import new_id
from idp_kernel.wire.worker import (
    CREDENTIAL_PROPERTIES,
    AppEnvSubject,
    CredentialIssuerName,
    SecretBindingWanted,
)
from tests.contract.vendors.resources import JSON
from tests.fixtures.vendors import RecordedCall

pytestmark = pytest.mark.system


@pytest.mark.parametrize("issuer", CredentialIssuerName)
def test_a_binding_brings_all_that_its_issuer_makes(issuer: CredentialIssuerName) -> None:
    whose = AppEnvSubject(
        application_environment_id=new_id(), team="payments", application="shop", environment="dev"
    )
    wanted = SecretBindingWanted(
        binding_id=new_id(),
        secret_id=new_id(),
        name="db",
        issuer=issuer,
        store_path="teams/payments/appenv/x/db",
        version=3,
    )
    manifest = yaml.safe_load(binding_manifest(whose, wanted, "here"))
    kind, within = manifest["kind"].lower(), manifest["metadata"]["namespace"]
    RecordedCall(
        provider="external-secrets",
        operation_hint=f"binding of {issuer}",
        method="PUT",
        path=f"/apis/{manifest['apiVersion']}/namespaces/{within}/{kind}s/db",
        query={},
        headers={"authorization": "Bearer of-the-agent", "content-type": JSON},
        body=manifest,
    )
    brought = {each["remoteRef"]["property"] for each in manifest["spec"]["data"]}
    assert brought == set(CREDENTIAL_PROPERTIES[issuer])
