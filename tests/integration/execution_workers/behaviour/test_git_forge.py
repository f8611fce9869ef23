"""What the port `GitForge` promises, on every forge there is: do, repeat, adopt, refuse, undo."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from execution_workers.ports import Action, Deed, Made
from idp_kernel.errors import ProviderRejected
from idp_kernel.ids import new_id
from idp_kernel.wire.worker import EffectKind
from tests.integration.execution_workers.behaviour.forges import (
    BINDINGS,
    CODE_REPOSITORY,
    INSTALLATION,
    KINDS,
    MANIFEST,
    PROTECTION,
    REPOSITORY,
    SEED,
    SEED_FILE,
    UNDOABLE,
    Bench,
    Kind,
    Thing,
    attempt,
)

of_every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
of_every_undoable = pytest.mark.parametrize("kind", UNDOABLE, ids=lambda kind: kind.name)


def do(bench: Bench, kind: Kind[Deed], thing: Thing, request_id: str | None = None) -> Made:
    return kind.make(bench.forge, thing).do(attempt(request_id))


def undo(bench: Bench, kind: Kind[Action], thing: Thing, request_id: str) -> EffectKind:
    return kind.make(bench.forge, thing).undo(attempt(request_id)).effect


@of_every_kind
def test_what_is_done_and_repeated_is_there_once(
    bench: Bench, kind: Kind[Deed], thing: Thing
) -> None:
    kind.prepare(bench.forge, thing)
    request = new_id()
    first, again = (do(bench, kind, thing, request) for _ in range(2))
    assert (first.created, again.created) == (True, False)
    assert first.created_by == again.created_by == request
    assert first.references == again.references
    assert first.event == again.event is not None
    assert kind.times_done(bench.people, thing) == 1


@pytest.mark.parametrize(
    "kind", [each for each in KINDS if each is not PROTECTION], ids=lambda kind: kind.name
)
def test_what_several_do_at_once_is_there_once(
    bench: Bench, kind: Kind[Deed], thing: Thing
) -> None:
    """As when a call that was given up goes on; of protections the ledger lets one at a time."""
    kind.prepare(bench.forge, thing)
    request = new_id()
    with ThreadPoolExecutor(4) as executor:
        made = list(executor.map(lambda _: do(bench, kind, thing, request), range(4)))
    assert len({str(sorted(each.references.items())) for each in made}) == 1
    assert kind.times_done(bench.people, thing) == 1


@of_every_undoable
def test_a_later_request_adopts_and_its_undo_leaves_it(
    bench: Bench, kind: Kind[Action], thing: Thing
) -> None:
    kind.prepare(bench.forge, thing)
    first, later = new_id(), new_id()
    made, adopted = do(bench, kind, thing, first), do(bench, kind, thing, later)
    assert not adopted.created
    assert adopted.created_by == first
    assert adopted.references == made.references
    assert undo(bench, kind, thing, later) is EffectKind.KEPT
    assert kind.times_done(bench.people, thing) == 1


@of_every_undoable
def test_an_undo_and_another_one(bench: Bench, kind: Kind[Action], thing: Thing) -> None:
    kind.prepare(bench.forge, thing)
    request = new_id()
    do(bench, kind, thing, request)
    assert undo(bench, kind, thing, request) is EffectKind.UNDONE
    assert undo(bench, kind, thing, request) is EffectKind.ABSENT
    made = do(bench, kind, thing, new_id())
    assert made.created, "it can be done anew"


@of_every_undoable
def test_an_undo_of_what_was_never_done(bench: Bench, kind: Kind[Action], thing: Thing) -> None:
    kind.prepare(bench.forge, thing)
    assert undo(bench, kind, thing, new_id()) is EffectKind.ABSENT


@pytest.mark.parametrize("kind", [REPOSITORY, CODE_REPOSITORY], ids=lambda kind: kind.name)
def test_somebody_elses_repository_is_refused(
    bench: Bench, kind: Kind[Action], thing: Thing
) -> None:
    for wanted in (thing.repository, thing.code_repository):
        bench.people.make_repository(wanted)
    with pytest.raises(ProviderRejected) as refused:
        do(bench, kind, thing)
    assert refused.value.code == "foreign_owner"
    assert undo(bench, kind, thing, new_id()) is EffectKind.KEPT
    assert bench.people.is_there(thing.repository)


def test_somebody_elses_protection_is_refused(bench: Bench, thing: Thing) -> None:
    do(bench, REPOSITORY, thing)
    bench.people.protect(thing.repository)
    with pytest.raises(ProviderRejected) as refused:
        do(bench, PROTECTION, thing)
    assert refused.value.code == "foreign_owner"
    assert undo(bench, PROTECTION, thing, new_id()) is EffectKind.KEPT


@pytest.mark.parametrize(
    ("kind", "path"), [(BINDINGS, MANIFEST), (SEED, SEED_FILE)], ids=["bindings", "seed"]
)
def test_somebody_elses_file_is_refused(
    bench: Bench, thing: Thing, kind: Kind[Deed], path: str
) -> None:
    kind.prepare(bench.forge, thing)
    for wanted in (thing.repository, thing.code_repository):
        if bench.people.is_there(wanted):
            bench.people.merge_file(wanted, path, "somebody: else\n")
    with pytest.raises(ProviderRejected) as refused:
        do(bench, kind, thing)
    assert refused.value.code == "foreign_owner"


def test_a_repository_with_peoples_work_outlives_the_undo(bench: Bench, thing: Thing) -> None:
    request = new_id()
    do(bench, REPOSITORY, thing, request)
    do(bench, PROTECTION, thing, request)
    bench.people.merge_file(thing.repository, "app.yaml", "a: 1\n")
    assert undo(bench, PROTECTION, thing, request) is EffectKind.KEPT
    assert undo(bench, REPOSITORY, thing, request) is EffectKind.KEPT
    assert bench.people.is_protected(thing.repository)


def test_a_repository_is_needed_for_what_is_done_to_it(bench: Bench, thing: Thing) -> None:
    for kind in (SEED, PROTECTION, BINDINGS):
        with pytest.raises(ProviderRejected) as refused:
            do(bench, kind, thing)
        assert refused.value.code == "repository_missing"


def test_the_number_of_approvals_changes_and_the_maker_stays(bench: Bench, thing: Thing) -> None:
    do(bench, REPOSITORY, thing)
    first, later = new_id(), new_id()
    bench.forge.protection(thing.subject, thing.repository, 0).do(attempt(first))
    changed = do(bench, PROTECTION, thing, later)
    assert (changed.created, changed.created_by) == (False, first)
    assert changed.event is not None
    standing = bench.forge.standing(thing.repository)
    assert standing is not None
    assert (standing.required_approvals, standing.weaknesses) == (1, ())
    assert undo(bench, PROTECTION, thing, first) is EffectKind.UNDONE


def test_what_stands_is_told(bench: Bench, thing: Thing) -> None:
    assert bench.forge.standing(thing.repository) is None
    request = new_id()
    made = do(bench, REPOSITORY, thing, request)
    bare = bench.forge.standing(thing.repository)
    assert bare is not None
    assert bare.marker == attempt(request).marker(thing.repository_id)
    assert bare.marker.installation_id == INSTALLATION
    assert bare.required_approvals is None
    do(bench, PROTECTION, thing)
    guarded = bench.forge.standing(thing.repository)
    assert guarded is not None
    assert guarded.required_approvals == 1
    bound = do(bench, BINDINGS, thing)
    pins = bench.forge.pins(thing.repository, [thing.binding(7)])
    assert pins[thing.binding_id].version == 1
    seed, revision = str(made.references["revision"]), str(bound.references["revision"])
    assert bench.forge.is_followed_by(thing.repository, seed, revision)
    assert not bench.forge.is_followed_by(thing.repository, revision, seed)


def test_a_binding_goes_for_good_and_then_its_repository_is_archived(
    bench: Bench, thing: Thing
) -> None:
    for kind in (REPOSITORY, PROTECTION, BINDINGS):
        do(bench, kind, thing)
    request = new_id()
    removal = bench.forge.removed_binding(thing.repository, thing.binding(), {})
    removed, again = (removal.do(attempt(request)) for _ in range(2))
    assert (removed.created, again.created) == (True, False)
    assert removed.references == again.references
    assert removed.event == again.event is not None
    assert not bench.forge.pins(thing.repository, [thing.binding()])[thing.binding_id].is_there

    archive = bench.forge.archived(thing.subject, thing.repository)
    archived, found = (archive.do(attempt(request)) for _ in range(2))
    assert (archived.created, found.created) == (True, False)
    assert archived.event == found.event is not None
    standing = bench.forge.standing(thing.repository)
    assert standing is not None
    assert standing.is_archived


def test_what_is_not_there_needs_no_end(bench: Bench, thing: Thing) -> None:
    removal = bench.forge.removed_binding(thing.repository, thing.binding(), {})
    archive = bench.forge.archived(thing.subject, thing.repository)
    for deed in (removal, archive):
        made = deed.do(attempt())
        assert (made.created, made.references) == (False, {})


def test_the_platform_has_what_it_needs(bench: Bench) -> None:
    assert [each for each in bench.forge.permissions() if each.granted is False] == []


def test_a_repository_is_taken_over_only_with_the_platforms_branch(
    vendor: Bench, thing: Thing
) -> None:
    people = vendor.vendors_people
    people.hand_over(thing.repository, "trunk")
    with pytest.raises(ProviderRejected, match="Make main the default branch there") as refused:
        do(vendor, REPOSITORY, thing)
    assert refused.value.code == "default_branch_differs"
    people.hand_over(thing.code_repository, "main")
    assert not do(vendor, CODE_REPOSITORY, thing).created


def test_a_mark_does_not_outlive_its_protection(vendor: Bench, thing: Thing) -> None:
    """Whoever removed it makes the next one."""
    people, request = vendor.vendors_people, new_id()
    do(vendor, REPOSITORY, thing)
    do(vendor, PROTECTION, thing, request)
    people.unprotect(thing.repository)
    people.protect(thing.repository)
    with pytest.raises(ProviderRejected) as refused:
        do(vendor, PROTECTION, thing)
    assert refused.value.code == "foreign_owner"
    assert undo(vendor, PROTECTION, thing, request) is EffectKind.KEPT
    people.unprotect(thing.repository)
    assert "[idp-protection:" in people.description(thing.repository)
    assert undo(vendor, PROTECTION, thing, request) is EffectKind.ABSENT
    assert "[idp-protection:" not in people.description(thing.repository)
