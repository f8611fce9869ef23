"""The platform's own files: accepted by Kubernetes, the same for every request, recognised."""

from __future__ import annotations

import kubernetes_validate
import pytest
import yaml

from execution_workers.manifests import (
    NAMESPACE_PATH,
    binding_manifest,
    binding_path,
    is_binding_of,
    is_ownership_of,
    namespace_name,
    pin_of,
    seed_files,
)
from idp_kernel.ids import new_id
from idp_kernel.wire.worker import (
    AppEnvSubject,
    CredentialIssuerName,
    RepositoryWanted,
    SecretBindingWanted,
)
from tests.fixtures.hostile_yaml import BOMB, MERGE_BOMB

INSTALLATION = "here"
OWNERS = "* @payments"


def subject(application: str = "shop", environment: str = "dev") -> AppEnvSubject:
    return AppEnvSubject(
        application_environment_id=new_id(),
        team="payments",
        application=application,
        environment=environment,
    )


def repository(description: str = "") -> RepositoryWanted:
    return RepositoryWanted(
        repository_id=new_id(), owner="payments", name="appenv-x", description=description
    )


def binding(version: int = 1) -> SecretBindingWanted:
    return SecretBindingWanted(
        binding_id=new_id(),
        secret_id=new_id(),
        name="app-key",
        store_path="teams/payments/appenv/x/app-key",
        version=version,
    )


def test_kubernetes_accepts_the_namespace() -> None:
    files = seed_files(subject(), repository(), INSTALLATION, code_owners=OWNERS)
    manifest = yaml.safe_load(files[NAMESPACE_PATH])
    kubernetes_validate.validate(manifest, "1.36", strict=True)
    assert manifest["metadata"]["name"] == "shop-dev"


def test_long_names_make_a_namespace_kubernetes_takes_and_stay_apart() -> None:
    first = namespace_name(subject("a" * 40, "b" * 39 + "c"))
    second = namespace_name(subject("a" * 40, "b" * 39 + "d"))
    assert len(first) <= 63
    assert first != second


def test_slugs_that_yaml_takes_for_something_else_stay_text() -> None:
    files = seed_files(subject("no", "on"), repository(), INSTALLATION, code_owners=OWNERS)
    labels = yaml.safe_load(files[NAMESPACE_PATH])["metadata"]["labels"]
    assert labels["idp.example/application"] == "no"
    assert labels["idp.example/environment"] == "on"


def test_a_description_cannot_add_lines_to_the_readme() -> None:
    files = seed_files(
        subject(), repository("One\n# Two\n{braces}"), INSTALLATION, code_owners=OWNERS
    )
    assert b"One # Two {braces}" in files["README.md"]


def test_a_manifest_pins_the_version_as_text() -> None:
    wanted = binding(version=7)
    manifest = yaml.safe_load(binding_manifest(subject(), wanted, INSTALLATION))
    (data,) = manifest["spec"]["data"]
    assert data["remoteRef"]["version"] == "7"
    assert manifest["spec"]["secretStoreRef"] == {"name": "openbao", "kind": "ClusterSecretStore"}
    assert binding_path(wanted) == "manifests/external-secrets/app-key.yaml"


def test_a_manifest_is_recognised_at_another_version() -> None:
    wanted, whose = binding(), subject()
    later = wanted.model_copy(update={"version": 2})
    assert is_binding_of(binding_manifest(whose, wanted, INSTALLATION), later, INSTALLATION)


def test_labels_of_other_people_do_not_matter() -> None:
    wanted = binding()
    manifest = yaml.safe_load(binding_manifest(subject(), wanted, INSTALLATION))
    manifest["metadata"]["labels"]["team/reviewed"] = "yes"
    assert is_binding_of(yaml.safe_dump(manifest).encode(), wanted, INSTALLATION)


@pytest.mark.parametrize(
    "content",
    [
        BOMB.encode(), MERGE_BOMB.encode(), b"a: 2024-99-99", b"a: !!bool foo", b"a: !!int ''",
        b"", b"- a list", b"kind: ExternalSecret", b"metadata: 3", b"metadata: {labels: [x]}",
        b"{", b"\xff\xfe", b"a: &a [*a]", b"!!python/object/apply:os.getcwd []", b"[" * 5000,
    ],
)  # fmt: skip
def test_whatever_else_is_there_is_foreign(content: bytes) -> None:
    assert not is_binding_of(content, binding(), INSTALLATION)


@pytest.mark.parametrize("added", [BOMB, MERGE_BOMB, "a: !!bool foo\n", "# a remark\n"])
def test_a_manifest_is_recognised_whatever_stands_behind_it(added: str) -> None:
    wanted = binding()
    manifest = binding_manifest(subject(), wanted, INSTALLATION)
    assert is_binding_of(manifest + added.encode(), wanted, INSTALLATION)


def test_an_installation_that_yaml_takes_for_a_number_is_recognised() -> None:
    wanted = binding()
    assert is_binding_of(binding_manifest(subject(), wanted, "1234"), wanted, "1234")


def test_a_label_that_contradicts_ours_makes_a_manifest_foreign() -> None:
    wanted = binding()
    manifest = binding_manifest(subject(), wanted, INSTALLATION)
    twice = manifest.replace(b"  labels:\n", b"  labels:\n    idp.example/binding-id: other\n")
    assert twice != manifest
    assert not is_binding_of(twice, wanted, INSTALLATION)


def test_another_installations_manifest_is_foreign() -> None:
    wanted = binding()
    assert not is_binding_of(binding_manifest(subject(), wanted, "there"), wanted, INSTALLATION)


def test_a_database_login_is_bound_with_all_its_properties() -> None:
    wanted = binding(version=3).model_copy(update={"issuer": CredentialIssuerName.POSTGRES})
    manifest = yaml.safe_load(binding_manifest(subject(), wanted, INSTALLATION))
    keys = [each["secretKey"] for each in manifest["spec"]["data"]]
    assert keys == ["host", "port", "database", "username", "password"]
    assert [each["remoteRef"]["property"] for each in manifest["spec"]["data"]] == keys
    assert {each["remoteRef"]["version"] for each in manifest["spec"]["data"]} == {"3"}


@pytest.mark.parametrize("issuer", list(CredentialIssuerName))
def test_the_version_that_a_manifest_pins_is_read(issuer: CredentialIssuerName) -> None:
    wanted = binding(version=12).model_copy(update={"issuer": issuer})
    manifest = binding_manifest(subject(), wanted, INSTALLATION)
    asked = wanted.model_copy(update={"version": 1})
    for content in (
        manifest,
        manifest.replace(b"'", b'"'),
        manifest.replace(b"'12'", b"12"),
        manifest.replace(b"\n", b"\r\n"),
        manifest + b"# a remark\n",
        manifest + BOMB.encode(),
    ):
        assert pin_of(content, asked, INSTALLATION).version == 12


def _changed(wanted: SecretBindingWanted, old: bytes, new: bytes) -> bytes:
    manifest = binding_manifest(subject(), wanted, INSTALLATION)
    assert old in manifest
    return manifest.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"version: '7'", b"version: '8'"),
        (b"version: '7'", b"version: x"),
        (b"key: teams/payments", b"key: teams/other"),
        (b"binding-id: ", b"binding-id: x"),
    ],
)
def test_a_manifest_that_contradicts_itself_pins_nothing(old: bytes, new: bytes) -> None:
    wanted = binding(version=7).model_copy(update={"issuer": CredentialIssuerName.POSTGRES})
    pin = pin_of(_changed(wanted, old, new), wanted, INSTALLATION)
    assert pin.version is None
    assert binding_path(wanted) in pin.found


@pytest.mark.parametrize("version", [b"", b"0", b"-1", b"9" * 40, b"\xc2\xb2", b"1.5", b"[1]"])
def test_a_version_that_is_no_number_pins_nothing(version: bytes) -> None:
    wanted = binding(version=7)
    assert pin_of(_changed(wanted, b"'7'", version), wanted, INSTALLATION).version is None


def test_no_manifest_pins_nothing() -> None:
    wanted = binding()
    assert pin_of(None, wanted, INSTALLATION).found == f"there is no {binding_path(wanted)}"
    assert pin_of(BOMB.encode(), wanted, INSTALLATION).version is None


def test_an_ownership_file_is_recognised_by_its_lines() -> None:
    wanted = repository()
    content = seed_files(subject(), wanted, INSTALLATION, code_owners=OWNERS)[".idp/ownership.yaml"]
    assert is_ownership_of(content + BOMB.encode(), wanted, INSTALLATION)
    assert not is_ownership_of(content, repository(), INSTALLATION)
    assert not is_ownership_of(content, wanted, "there")
    assert not is_ownership_of(b"", wanted, INSTALLATION)
