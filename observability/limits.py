"""From where on something is to be done: alerts fire and panels turn red at the same values."""

from __future__ import annotations

from typing import Final

DAY_SECONDS: Final = 86400

OLDEST_PENDING_SECONDS: Final = 120
"""A request should begin within a second or two."""
LAPSED_LEASE_SECONDS: Final = 60
"""The control plane looks each second, but leaves leases alone for 15 s after an outage."""
LEASE_LOSSES: Final = 3
"""Within half an hour."""
HTTP_ERROR_SHARE: Final = 0.05
HTTP_ERRORS: Final = 5
"""Within five minutes, below which a share says nothing."""
DOWNSTREAM_ERRORS: Final = 10
"""Within ten minutes, of one party: some calls more than one step that is repeated to its end."""
FAILURES: Final = 5
"""Of a workflow within ten minutes, most of its requests."""
HEARTBEAT_AGE_SECONDS: Final = 120
FAILED_TICKS: Final = 5
"""Of one sensor or schedule within ten minutes."""
EXPIRY_DAYS: Final = 2
"""A rotation is asked for a week before; it has failed for five days by then."""
