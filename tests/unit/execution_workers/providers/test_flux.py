"""What a Kustomization's inventory says."""

from __future__ import annotations

from execution_workers.providers.external_secrets import GROUP, KIND
from execution_workers.providers.flux.conditions import external_secrets_of


def test_names_with_underscores_hide_no_external_secret() -> None:
    """Flux writes two underscores for the colon in a name of RBAC."""
    entries = [
        {"id": "_shop-dev__Namespace", "v": "v1"},
        {"id": "shop-dev_web__reader_rbac.authorization.k8s.io_Role", "v": "v1"},
        {"id": "_system__web__reader_rbac.authorization.k8s.io_ClusterRole", "v": "v1"},
        {"id": f"shop-dev_app-key_{GROUP}_{KIND}", "v": "v1"},
    ]
    kustomization = {"status": {"inventory": {"entries": entries}}}
    assert list(external_secrets_of(kustomization, GROUP, KIND)) == [["v1", "shop-dev", "app-key"]]
