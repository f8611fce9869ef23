"""A file of declarations is checked whole, and every complaint names its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from idp_cli import declarations as package
from idp_cli.declarations.kinds import DeclaredApplicationEnvironment, DeclaredTeam
from idp_cli.declarations.reading import read_declarations
from idp_kernel.errors import InvalidInput
from tests.fixtures.hostile_yaml import BOMB, MERGE_BOMB

EXAMPLES = Path(package.__file__).parents[2] / "docs" / "examples"

TEAM = "kind: Team\nslug: payments\n"
APPENV = "kind: ApplicationEnvironment\nteam: a1\napplication: b1\nenvironment: c1\n"
SECRET = "kind: Secret\nteam: a1\napplication: b1\nenvironment: c1\nname: db\n"


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as raised:
        read_declarations(text, "payments.yaml")
    assert raised.value.code == "declaration_invalid"
    assert raised.value.message.startswith("payments.yaml cannot be applied")
    problems = raised.value.details["problems"]
    assert isinstance(problems, list)
    return problems


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_can_be_read(example: Path) -> None:
    assert read_declarations(example.read_text(), example.name).placed


def test_what_is_declared_is_found_by_its_subject() -> None:
    text = (
        f"{TEAM}displayName: Payments\n---\n# nothing\n---\n"
        "kind: ApplicationEnvironment\nteam: payments\napplication: shop\nenvironment: dev\n"
        "secrets: [{name: db, issuer: postgres}]\n"
    )
    read = read_declarations(text, "x.yaml")
    team = read.find(DeclaredTeam, "payments")
    assert team is not None
    assert team.display_name == "Payments"
    appenv = read.find(DeclaredApplicationEnvironment, "payments/shop/dev")
    assert appenv is not None
    assert appenv.secrets is not None
    assert appenv.secrets[0].issuer == "postgres"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it declares nothing"),
        ("---\n---\n", "it declares nothing"),
        ("- a\n", "document 1, line 1: it is no mapping of fields to values"),
        ("a: [\n", "line 2: it is no YAML"),
        ("a: \x01\n", "it is no YAML"),
        ("slug: payments\n", "document 1, line 1, kind: it says not what it declares"),
        ("kind: Taem\n", "line 1, kind: there is no kind 'Taem', did you mean Team; kinds are"),
        ("kind: [Team]\n", "line 1, kind: there is no kind ['Team']"),
        ("kind: Team\n", "document 1, line 1, slug: it is missing"),
        (f"{TEAM}diplayName: P\n", "line 3, diplayName: a Team has no such field, did you mean "),
        (f"{TEAM}slug: other\n", "line 3, slug: it is there twice"),
        ("kind: Team\nslug: Bad Slug\n", "line 2, slug: 'Bad Slug' is no slug: lower case"),
        ("kind: Team\nslug: on\n", "line 2, slug: input should be a valid string"),
        (f"{TEAM}state: Archived\n", "line 3, state: input should be 'Active' or 'Suspended'"),
        (
            f"{TEAM}members:\n  - principal: ana\n    role: boss\n",
            "line 5, members[0].role: input should be",
        ),
        (f"{TEAM}members:\n  - role: team-viewer\n", "line 4, members[0].principal: it is missing"),
        (
            f"{TEAM}---\n{TEAM}",
            "document 2 (Team payments), line 4: document 1 declares it already",
        ),
        (f"{TEAM}description: x\n", "line 3, description: a Team has no such field"),
        (
            f"{APPENV}secrets:\n  - name: db\n  - name: db\n",
            "line 7, secrets[1].name: db is declared twice",
        ),
        (
            f"{TEAM}policy:\n  undoOnFail: true\n",
            "line 4, policy.undoOnFail: there is no such field",
        ),
        (f"{TEAM}limits: {{maxApplications: many}}\n", "line 3, limits.maxApplications: "),
        (
            f"{TEAM}members: [{{principal: ana, role: team-viewer}}]\nformerMembers: [bo, ana]\n",
            "line 4, formerMembers[1]: ana is among the members, too",
        ),
        ("kind: Secret\nname: db\n", "document 1, line 1, environment: it is missing"),
        (f"{SECRET}rotation: {{interval: 3x}}\n", "rotation.interval: '3x' is no duration; what f"),
        (
            f"{SECRET}rotation:\n  interval: 10s\n",
            "line 7, rotation.interval: 10s does not fit; it takes at least 1m",
        ),
        (f"{SECRET}rotation: {{grace: 0}}\n", "rotation.grace: it takes text, such as 1h or 0s"),
        (f"{SECRET}rotation: {{grace: null}}\n", "rotation.grace: it takes text, such as 1h or 0s"),
        (
            f"{SECRET}rotation: {{window: sunny}}\n",
            "rotation.window: 'sunny' is no rotation window",
        ),
        (
            f"{APPENV}secrets: [{{name: db, issuer: postgres}}]\n---\n{SECRET}issuer: openbao\n",
            "line 12, issuer: it is openbao here and postgres in document 1",
        ),
        (
            f"{APPENV}secrets: [{', '.join(f'{{name: s{n}}}' for n in range(50))}]\n---\n{SECRET}",
            "document 2 (Secret a1/b1/c1/db), line 7: a1/b1/c1 has more than 50 secrets",
        ),
        ("kind: Team\nslug: &a [*a]\n", "it refers to itself"),
        (BOMB, "it has more than"),
        (MERGE_BOMB, "it has more than"),
        ("x" * 1_000_001, "it has more than"),
    ],
)
def test_a_complaint_names_document_line_and_field(text: str, problem: str) -> None:
    assert any(problem in told for told in problems_of(text)), problems_of(text)


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = "kind: Team\nslug: Bad\nstate: x\n---\nkind: Environment\n---\nkind: Nothing\n"
    assert len(problems_of(text)) == 4


def test_an_anchor_may_repeat_what_is_meant() -> None:
    text = (
        "kind: ApplicationEnvironment\nteam: p1\napplication: s1\nenvironment: dev\n"
        "secrets: &s [{name: db}]\n---\n"
        "kind: ApplicationEnvironment\nteam: p1\napplication: s1\nenvironment: qa\n"
        "secrets: [{name: db}]\n"
    )
    assert len(read_declarations(text, "x.yaml").placed) == 2


@pytest.mark.parametrize("text", ["[" * 20_000, "kind: Team\nslug: " + "[" * 900 + "]" * 900])
def test_what_is_nested_without_end_is_told(text: str) -> None:
    assert problems_of(text) == ["line 1: it is nested too deeply"]
