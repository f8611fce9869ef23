"""The protection of a default branch as a ruleset of the repository. Its name has the mark, so no
mark outlives it, and rulesets of others, which hold beside it, are never taken for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, RootModel

from execution_workers.providers.forges.marks import protected_by, protection_mark

_ACTIVE = "active"
_PULL_REQUEST = "pull_request"
_RULES = ("deletion", "non_fast_forward", _PULL_REQUEST)


class RulesetName(BaseModel):
    """A ruleset as a list tells it."""

    id: int
    name: str

    @property
    def request_id(self) -> str:
        """Of the request that made it; empty for somebody else's."""
        return protected_by(self.name)


class RulesetNames(RootModel[tuple[RulesetName, ...]]):
    """A page of them."""


class BypassActor(BaseModel):
    """Who is let past, and when."""

    actor_id: int | None = None
    actor_type: str
    bypass_mode: str = "always"


class Rule(BaseModel):
    type: str
    parameters: dict[str, Any] = {}


class RefNames(BaseModel):
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Conditions(BaseModel):
    ref_name: RefNames = RefNames()


class Ruleset(RulesetName):
    enforcement: str
    bypass_actors: tuple[BypassActor, ...] = ()
    conditions: Conditions | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def reviews(self) -> Mapping[str, Any] | None:
        """What it asks of pull requests; None when it asks for none."""
        found = (each.parameters for each in self.rules if each.type == _PULL_REQUEST)
        return next(found, None)

    @property
    def required_approvals(self) -> int:
        return int((self.reviews or {}).get("required_approving_review_count", 0))


def ruleset_for(
    request_id: str,
    branch: str,
    required_approvals: int,
    platform: tuple[BypassActor, ...],
    former: Ruleset | None,
) -> dict[str, object]:
    """All of a ruleset; rules of other kinds that a team has added stay."""
    others = (
        () if former is None else tuple(each for each in former.rules if each.type not in _RULES)
    )
    reviews = {
        **((former.reviews if former is not None else None) or {}),
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": required_approvals > 0,
        "require_last_push_approval": False,
        "required_approving_review_count": required_approvals,
        "required_review_thread_resolution": True,
    }
    rules: list[dict[str, Any]] = [
        {"type": "deletion"},
        {"type": "non_fast_forward"},
        {"type": _PULL_REQUEST, "parameters": reviews},
        *(each.model_dump(exclude_defaults=True) for each in others),
    ]
    return {
        "name": f"{branch} {protection_mark(request_id)}",
        "target": "branch",
        "enforcement": _ACTIVE,
        "bypass_actors": [each.model_dump() for each in platform],
        "conditions": {"ref_name": {"include": [_ref(branch)], "exclude": []}},
        "rules": rules,
    }


_WEAKNESSES: tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...] = (
    (
        "an approval outlives a later change",
        lambda reviews: not reviews.get("dismiss_stale_reviews_on_push"),
    ),
    (
        "nobody waits for the code owners",
        lambda reviews: (
            bool(reviews.get("required_approving_review_count"))
            and not reviews.get("require_code_owner_review")
        ),
    ),
    (
        "conversations need no answer",
        lambda reviews: not reviews.get("required_review_thread_resolution"),
    ),
)


def weaknesses_of(
    found: Ruleset, branch: str, platform: tuple[BypassActor, ...]
) -> tuple[str, ...]:
    """Where a ruleset is not what `ruleset_for` asks for, in words."""
    if found.enforcement != _ACTIVE:
        return (f"the ruleset is {found.enforcement}",)
    names = (found.conditions or Conditions()).ref_name
    if names.exclude or not {_ref(branch), "~DEFAULT_BRANCH", "~ALL"} & set(names.include):
        return (f"the ruleset is not for {branch}",)
    present = {each.type for each in found.rules}
    reviews = found.reviews
    asked = (
        () if reviews is None else tuple(words for words, is_so in _WEAKNESSES if is_so(reviews))
    )
    return (
        *(["the branch may be deleted"] if "deletion" not in present else []),
        *(["pushes may be forced"] if "non_fast_forward" not in present else []),
        *(["everybody who may write may push"] if reviews is None else []),
        *asked,
        *_wrong_actors(set(map(_actor, found.bypass_actors)), set(map(_actor, platform))),
    )


def _wrong_actors(passing: set[str], platform: set[str]) -> list[str]:
    others, lacking = sorted(passing - platform), sorted(platform - passing)
    return [
        *(f"{each} may push" for each in others),
        *(f"the platform may not push as {each}" for each in lacking),
    ]


def _actor(actor: BypassActor) -> str:
    return f"{actor.actor_type} {actor.actor_id or ''} ({actor.bypass_mode})"


def _ref(branch: str) -> str:
    return f"refs/heads/{branch}"
