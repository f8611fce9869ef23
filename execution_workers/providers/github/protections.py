"""How GitHub guards a default branch: by the branch's own protection, or by a ruleset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from execution_workers.ports import Attempt, Marker
from execution_workers.providers.forges.host import NOBODY, HostedProtection
from execution_workers.providers.forges.marks import Description, with_protection_mark
from execution_workers.providers.github import rulesets
from execution_workers.providers.github.client import (
    GitHubClient,
    GitHubProtection,
    Named,
    RequiredChecks,
    RequiredReviews,
)
from execution_workers.providers.github.credentials import Identity
from execution_workers.providers.github.rulesets import BypassActor, Ruleset

LONGEST_DESCRIPTION = 350


@dataclass(frozen=True)
class Place:
    """The branch that is guarded."""

    owner: str
    name: str
    branch: str


class Guard(Protocol):
    """One way to guard a branch."""

    def found(self, place: Place, description: Description) -> HostedProtection | None:
        """What guards it now; None when nothing does."""
        ...

    def protect(
        self, place: Place, required_approvals: int, request_id: str, attempt: Attempt
    ) -> None:
        """Guards it, or puts that in the place of what does."""
        ...

    def unprotect(self, place: Place, attempt: Attempt) -> None:
        """What is gone already is fine."""
        ...


class ByBranch:
    """The branch's own protection, with its mark in the repository's description."""

    def __init__(self, client: GitHubClient, *, passing: bool) -> None:
        """Whether the platform is let past."""
        self._client = client
        self._passing = passing

    def found(self, place: Place, description: Description) -> HostedProtection | None:
        rule = self._client.protection(place.owner, place.name, place.branch)
        if rule is None:
            return None
        reviews = rule.required_pull_request_reviews
        is_ours = reviews is not None and self._is_own(_passing(reviews))
        return HostedProtection(
            branch=place.branch,
            required_approvals=0 if reviews is None else reviews.required_approving_review_count,
            marker=description.protection_marker if is_ours else NOBODY,
            weaknesses=weaknesses_of(rule, self._platform),
        )

    def _is_own(self, passing: set[str]) -> bool:
        """Whether the platform's own may let these past, and perhaps others by now: it names the
        platform or, where nobody is let past, nobody else. Another is not its own, whatever mark
        an earlier one has left.
        """
        name = self._client.identity.name
        return name in passing if self._passing else passing <= {name}

    def protect(
        self, place: Place, required_approvals: int, request_id: str, attempt: Attempt
    ) -> None:
        """Marked before it is there: a protection that stands unmarked is somebody else's."""
        former = self._client.protection(place.owner, place.name, place.branch)
        identity = self._client.identity if self._passing else None
        asked = protection_for(identity, required_approvals, former)
        self._mark(place, request_id, attempt)
        attempt.check_fence()
        self._client.protect(place.owner, place.name, place.branch, asked)

    def unprotect(self, place: Place, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.unprotect(place.owner, place.name, place.branch)
        self._mark(place, "", attempt)

    @property
    def _platform(self) -> frozenset[str]:
        """Whom the platform's own protection lets past."""
        return frozenset({self._client.identity.name}) if self._passing else frozenset()

    def _mark(self, place: Place, request_id: str, attempt: Attempt) -> None:
        found = self._client.repository(place.owner, place.name)
        if found is None:
            return
        described = with_protection_mark(found.description, request_id, LONGEST_DESCRIPTION)
        if described is not None:
            attempt.check_fence()
            self._client.change_repository(place.owner, place.name, {"description": described})


class ByRuleset:
    """A ruleset of the repository's own."""

    def __init__(self, client: GitHubClient, *, passing: bool) -> None:
        """Whether the platform is let past."""
        self._client = client
        self._passing = passing

    def found(self, place: Place, description: Description) -> HostedProtection | None:
        ruleset = self._own(place)
        if ruleset is None:
            return None
        owner = description.marker
        return HostedProtection(
            branch=place.branch,
            required_approvals=ruleset.required_approvals,
            marker=Marker(owner.installation_id, owner.entity_id, ruleset.request_id),
            weaknesses=rulesets.weaknesses_of(ruleset, place.branch, self._platform),
        )

    def protect(
        self, place: Place, required_approvals: int, request_id: str, attempt: Attempt
    ) -> None:
        former = self._own(place)
        asked = rulesets.ruleset_for(
            request_id, place.branch, required_approvals, self._platform, former
        )
        attempt.check_fence()
        if former is None:
            self._client.add_ruleset(place.owner, place.name, asked)
        else:
            self._client.change_ruleset(place.owner, place.name, former.id, asked)

    def unprotect(self, place: Place, attempt: Attempt) -> None:
        found = self._own(place)
        if found is not None:
            attempt.check_fence()
            self._client.remove_ruleset(place.owner, place.name, found.id)

    def _own(self, place: Place) -> Ruleset | None:
        """The oldest that the platform has made."""
        listed = self._client.rulesets(place.owner, place.name)
        own = sorted(each.id for each in listed if each.request_id)
        return self._client.ruleset(place.owner, place.name, own[0]) if own else None

    @property
    def _platform(self) -> tuple[BypassActor, ...]:
        """Whom the platform's own ruleset lets past."""
        if not self._passing:
            return ()
        identity = self._client.identity
        kind = "Integration" if identity.apps else "User"
        return (BypassActor(actor_id=identity.id, actor_type=kind),)


def protection_for(
    platform: Identity | None, required_approvals: int, former: GitHubProtection | None
) -> dict[str, object]:
    """All of a protection that lets only the platform past, or nobody; status checks and a linear
    history stay as the team has them.
    """
    former = former or GitHubProtection()
    return {
        "required_status_checks": _as_asked(former.required_status_checks),
        "enforce_admins": True,
        "required_pull_request_reviews": {
            "dismiss_stale_reviews": True,
            "require_code_owner_reviews": required_approvals > 0,
            "required_approving_review_count": required_approvals,
            "bypass_pull_request_allowances": {
                "users": [] if platform is None else list(platform.users),
                "teams": [],
                "apps": [] if platform is None else list(platform.apps),
            },
        },
        # Whom it names may merge as well, so nobody is named: the reviews keep others from pushing.
        "restrictions": None,
        "required_linear_history": former.required_linear_history.enabled,
        "allow_force_pushes": False,
        "allow_deletions": False,
        "required_conversation_resolution": True,
    }


def _as_asked(checks: RequiredChecks | None) -> dict[str, object] | None:
    """The checks as they were told, and their names alone, which the API asks for beside them."""
    if checks is None:
        return None
    names = [each.context for each in checks.checks]
    return {**checks.model_dump(exclude_none=True), "contexts": names}


_WEAKNESSES: tuple[tuple[str, Callable[[GitHubProtection], bool]], ...] = (
    ("administrators are exempt", lambda rule: not rule.enforce_admins.enabled),
    ("pushes may be forced", lambda rule: rule.allow_force_pushes.enabled),
    ("the branch may be deleted", lambda rule: rule.allow_deletions.enabled),
    (
        "conversations need no answer",
        lambda rule: not rule.required_conversation_resolution.enabled,
    ),
)


def weaknesses_of(rule: GitHubProtection, platform: frozenset[str]) -> tuple[str, ...]:
    """Where a protection is not what `protection_for` asks for, in words."""
    found = (words for words, is_so in _WEAKNESSES if is_so(rule))
    return (*_weak_reviews(rule.required_pull_request_reviews, platform), *found)


def _weak_reviews(reviews: RequiredReviews | None, platform: frozenset[str]) -> tuple[str, ...]:
    if reviews is None:
        return ("everybody who may write may push",)
    found = []
    if not reviews.dismiss_stale_reviews:
        found.append("an approval outlives a later change")
    if reviews.required_approving_review_count and not reviews.require_code_owner_reviews:
        found.append("nobody waits for the code owners")
    passing = _passing(reviews)
    if others := passing - platform:
        found.append(f"{', '.join(sorted(others))} may push")
    if lacking := platform - passing:
        found.append(f"the platform may not push as {', '.join(lacking)}")
    return tuple(found)


def _passing(reviews: RequiredReviews) -> set[str]:
    """Who needs no pull request."""
    allowed = reviews.bypass_pull_request_allowances
    return _names((*allowed.users, *allowed.teams, *allowed.apps))


def _names(found: Sequence[Named]) -> set[str]:
    return {each.login or each.slug for each in found}
