"""A plan as people read it before they agree to it, and as a program gets it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.markup import escape

from idp_cli.declarations.plans import Action, Change, FieldChange, Plan
from idp_kernel.wire.base import WireModel
from idp_kernel.workflows import RequestState, WorkflowName

_MARKS: dict[Action, tuple[str, str]] = {
    Action.CREATE: ("+", "green"),
    Action.CHANGE: ("~", "yellow"),
}


class FieldShown(WireModel):
    """A field that differs."""

    field: str
    present: str | None
    declared: str


class ChangeShown(WireModel):
    """A subject that differs."""

    action: Action
    kind: str
    subject: str
    fields: tuple[FieldShown, ...]


class RequestShown(WireModel):
    """A workflow request that was asked for, or waited for."""

    id: str
    workflow: WorkflowName
    state: RequestState
    waiting_reason: str | None = None


class Applied(WireModel):
    """What `idp apply` answers to a program."""

    changes: tuple[ChangeShown, ...]
    unchanged: int
    applied: bool
    """Whether the changes were made; false for `--dry-run`."""
    unsettled: tuple[str, ...] = ()
    """What has to be compared again once the requests have ended."""
    requests: tuple[RequestShown, ...] = ()


def change_shown(change: Change) -> ChangeShown:
    """A change without its commands."""
    return ChangeShown(
        action=change.action,
        kind=change.kind,
        subject=change.subject,
        fields=tuple(
            FieldShown(field=each.name, present=each.present, declared=each.declared)
            for each in change.fields
        ),
    )


def plan_lines(plan: Plan) -> Iterator[str]:
    """Markup, a line each: every change with its fields, what is under way, and how many."""
    for change in plan.changes:
        mark, style = _MARKS[change.action]
        yield f"[{style}]{mark}[/] [bold]{change.kind}[/] {escape(change.subject)}"
        yield from _field_lines(change.fields)
    for waiting in plan.under_way:
        when = "what is asked for above" if waiting.request_id is None else waiting.request_id
        then = "" if waiting.is_settled else ", then it is compared again"
        yield f"[cyan]◷[/] [bold]{waiting.kind}[/] {escape(waiting.subject)}"
        yield f"    [dim]waits for[/] {when}{then}"
    if plan.changes:
        yield ""
    yield _sums(plan)


def _field_lines(fields: Iterable[FieldChange]) -> Iterator[str]:
    listed = list(fields)
    width = max((len(each.name) for each in listed), default=0)
    for each in listed:
        before = "" if each.present is None else f"{escape(each.present) or '-'} [dim]→[/] "
        yield f"    [dim]{escape(each.name):<{width}}[/]  {before}{escape(each.declared) or '-'}"


def _sums(plan: Plan) -> str:
    created = sum(change.action == Action.CREATE for change in plan.changes)
    changed = len(plan.changes) - created
    counted = (
        (created, "to create"),
        (changed, "to change"),
        (len(plan.under_way), "under way"),
        (plan.unchanged, "as declared"),
    )
    told = ", ".join(f"{count} {words}" for count, words in counted if count)
    return f"{told}." if plan.changes or plan.under_way else f"Nothing to do: {told}."
