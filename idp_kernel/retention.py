"""How long a request may come back, and how long what is known of its effects must be kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

REPEATABLE_FOR: Final = timedelta(days=30)
"""So long after its command a request may be retried and undone, and its undo retried. Later it is
asked for anew.
"""

LONGEST_PULL_REQUEST: Final = timedelta(days=14)
"""No pull request of the platform's may be set to be open for longer."""

LONGEST_APPROVAL: Final = timedelta(days=14)
"""So long an onboarding waits for somebody to approve its application. It makes nothing before, so
this counts in no time that effects are known for.
"""

LONGEST_ROUND: Final = timedelta(days=10) + LONGEST_PULL_REQUEST
"""How much later than its retry or undo a request is taken to end. At work it is for an hour at
most, the deadlines of two phases, beside its looks at what it waits for. A deadline leaves waits
out: a grace period of seven days is the longest that is planned, and settings bound those for
providers and for a pull request, one of which is counted here. One for a place among the rotations
that are at work has no bound.
"""

LEDGER_KEPT_FOR: Final = REPEATABLE_FOR + LONGEST_ROUND
"""After its last claim, which is no sooner than its command. What should go on later all the same
finds what it made at the provider, as after a kill.
"""
