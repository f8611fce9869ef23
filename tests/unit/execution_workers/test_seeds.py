"""The first files of an application's repositories, as those who read them take them."""

from __future__ import annotations

import re

import kubernetes_validate
import pytest
import yaml

from execution_workers.manifests import is_ownership_of
from execution_workers.seeds import application_seed_files
from idp_kernel.errors import InvalidInput
from idp_kernel.ids import SLUG_MAX_LENGTH, new_id
from idp_kernel.wire.worker import (
    ApplicationSubject,
    RepositoryKind,
    RepositoryWanted,
    SeedRepositories,
)

BACKSTAGE_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
BACKSTAGE_OWNER = re.compile(r"group:[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
ANNOTATION = re.compile(r"([a-z0-9-]+\.)+[a-z]+/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def files(
    kind: RepositoryKind, description: str = "Sells things", application: str = "shop"
) -> dict[str, bytes]:
    repository = RepositoryWanted(
        repository_id=new_id(), kind=kind, owner="payments", name=application
    )
    body = SeedRepositories(
        subject=ApplicationSubject(
            application_id=new_id(), team="payments", application=application
        ),
        description=description,
        repositories=(repository,),
    )
    found = application_seed_files(body, repository, "here", code_owners="* @payments")
    assert is_ownership_of(found[".idp/ownership.yaml"], repository, "here")
    return found


@pytest.mark.parametrize("application", ["shop", "no", "on", "a" * SLUG_MAX_LENGTH])
@pytest.mark.parametrize("description", ["", "Sells: things, #1 {x}", "y", "1\n2"])
def test_the_catalogue_takes_the_component(application: str, description: str) -> None:
    """By the rules of Backstage's descriptor format: kinds, names, annotations, owner."""
    entity = yaml.safe_load(
        files(RepositoryKind.CODE, description, application)["catalog-info.yaml"]
    )
    assert entity["apiVersion"] == "backstage.io/v1alpha1"
    assert entity["kind"] == "Component"
    assert entity["metadata"]["name"] == application
    assert BACKSTAGE_NAME.fullmatch(entity["metadata"]["name"])
    assert len(entity["metadata"]["name"]) <= 63
    assert isinstance(entity["metadata"].get("description", ""), str)
    assert ("description" in entity["metadata"]) == bool(description)
    for key, value in entity["metadata"]["annotations"].items():
        assert ANNOTATION.fullmatch(key)
        assert isinstance(value, str)
    assert entity["spec"] == {
        "type": "service",
        "lifecycle": "experimental",
        "owner": "group:payments",
    }
    assert BACKSTAGE_OWNER.fullmatch(entity["spec"]["owner"])


def test_the_base_names_files_that_are_there_and_kubernetes_takes() -> None:
    found = files(RepositoryKind.DEPLOYMENT)
    base = yaml.safe_load(found["base/kustomization.yaml"])
    assert (base["kind"], base["apiVersion"]) == (
        "Kustomization", "kustomize.config.k8s.io/v1beta1",
    )  # fmt: skip
    assert base["resources"]
    for name in base["resources"]:
        kubernetes_validate.validate(yaml.safe_load(found[f"base/{name}"]), "1.36", strict=True)


def test_one_component_for_each_application() -> None:
    assert "catalog-info.yaml" not in files(RepositoryKind.DEPLOYMENT)


@pytest.mark.parametrize("kind", [RepositoryKind.CODE, RepositoryKind.DEPLOYMENT])
def test_a_description_cannot_add_lines_to_the_readme(kind: RepositoryKind) -> None:
    assert b"One # Two {braces}" in files(kind, "One\n# Two\n{braces}")["README.md"]
    assert b"* @payments" in files(kind)["CODEOWNERS"]


def test_an_environments_repository_is_seeded_elsewhere() -> None:
    with pytest.raises(InvalidInput) as refused:
        files(RepositoryKind.APPLICATION_ENVIRONMENT)
    assert refused.value.code == "wrong_repository_kind"
