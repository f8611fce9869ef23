"""The ownership marker in a repository's description, for forges that keep no data of others.

The description is the one field that such a forge sets in the same instant as it creates the
repository, so there never is an unmarked repository of ours; that is read with it; and that nobody
changes who may only write to the repository. What people write beside the marks stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from execution_workers.ports import Marker
from execution_workers.providers.forges.host import NOBODY

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OWNER = re.compile(
    rf"\[idp:(?P<installation>[A-Za-z0-9._-]{{1,63}})/(?P<entity>{_ID})(?:/(?P<request>{_ID}))?\]"
)
_PROTECTION = re.compile(rf"\[idp-protection:(?P<request>{_ID})\]")
_CUT = "…"


@dataclass(frozen=True)
class Description:
    """A repository's description, taken apart."""

    text: str
    """What is for people, on one line."""
    marker: Marker = NOBODY
    """Without a request where a person wrote it: then no undo removes the repository."""
    protected_by: str = ""
    """The request that protected the default branch; empty when none of ours did."""

    @property
    def protection_marker(self) -> Marker:
        """Of the default branch's protection, if there is one."""
        if not self.protected_by:
            return NOBODY
        return Marker(self.marker.installation_id, self.marker.entity_id, self.protected_by)

    def written(self, longest: int) -> str:
        """The description as the forge keeps it; what is for people gives way to the marks."""
        marks = []
        if self.marker != NOBODY:
            marks.append(owner_mark(self.marker))
        if self.protected_by:
            marks.append(protection_mark(self.protected_by))
        behind = " ".join(marks)
        room = longest - len(behind) - 1
        text = " ".join(self.text.split())
        if len(text) > room:
            text = text[: room - len(_CUT)].rstrip() + _CUT
        return f"{text} {behind}".strip()


def read_description(description: str | None) -> Description:
    """Marks that contradict each other, as after two descriptions were joined, mark nothing."""
    written = description or ""
    text = " ".join(_PROTECTION.sub("", _OWNER.sub("", written)).split())
    owners = {
        Marker(found["installation"], found["entity"], found["request"] or "")
        for found in _OWNER.finditer(written)
    }
    marker = next(iter(owners)) if len(owners) == 1 else NOBODY
    return Description(text, marker, protected_by(written))


def protected_by(written: str) -> str:
    """The request that a protection's mark names; empty without one, or with several."""
    protections = {found["request"] for found in _PROTECTION.finditer(written)}
    return next(iter(protections)) if len(protections) == 1 else ""


def protection_mark(request_id: str) -> str:
    """`[idp-protection:<request>]`."""
    return f"[idp-protection:{request_id}]"


def owner_mark(marker: Marker) -> str:
    """`[idp:<installation>/<entity>/<request>]`, as short as it is without a request."""
    parts = (marker.installation_id, marker.entity_id, marker.request_id)
    return f"[idp:{'/'.join(part for part in parts if part)}]"


def how_to_mark(installation_id: str, entity_id: str, branch: str) -> str:
    """What an administrator does so that the platform takes over a repository of somebody's."""
    mark = owner_mark(Marker(installation_id, entity_id, ""))
    return (
        f"To have the platform take it over as it is, put {mark} into its description there; its "
        f"default branch has to be {branch}."
    )


def with_protection_mark(description: str | None, request_id: str, longest: int) -> str | None:
    """The description once it says which request protects the branch, none with an empty one; None
    when it says so already.
    """
    read = read_description(description)
    if read.protected_by == request_id:
        return None
    return Description(read.text, read.marker, request_id).written(longest)
