"""How long a request may come back, and how long what is known of its effects must be kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

REPEATABLE_FOR: Final = timedelta(days=30)
"""So long after its command a request may be retried and undone, and its undo retried. Later it is
asked for anew.
"""

LONGEST_ROUND: Final = timedelta(days=10)
"""No shorter than what lies between a retry or an undo and the end it leads to: at most the
deadlines of two phases, and a grace period of seven days between them.
"""

LEDGER_KEPT_FOR: Final = REPEATABLE_FOR + LONGEST_ROUND
"""After its last claim, which is no sooner than its command. What should go on later all the same
finds what it made at the provider, as after a kill.
"""
