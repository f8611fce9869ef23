"""From where on something is to be done: what alerts and the panels that show the same ask for."""

from __future__ import annotations

from typing import Final

from idp_kernel.services import DAEMON_SILENT_SECONDS

MINUTE_SECONDS: Final = 60
DAY_SECONDS: Final = 86400
ESTIMATE: Final = 0.5
"""An increase is estimated, not counted, so that it may come out a little less."""

OLDEST_PENDING_SECONDS: Final = 120
"""A request should begin within a second or two."""
PROVIDER_WAIT_SECONDS: Final = 2 * 3600
"""The longest pause that a provider asks for, by default, is an hour."""
LAPSED_LEASE_SECONDS: Final = 60
"""The control plane looks each second, but leaves leases alone for 15 s after an outage."""
LEASE_LOSSES: Final = 3
"""Of a workflow, within `LEASE_LOSSES_WITHIN`."""
LEASE_LOSSES_WITHIN: Final = "30m"
HTTP_ERROR_SHARE: Final = 0.05
HTTP_ERRORS: Final = 5
"""Within `HTTP_ERRORS_WITHIN`; below it a share says nothing."""
HTTP_ERRORS_WITHIN: Final = "5m"
DOWNSTREAM_ERRORS: Final = 10
"""Of one party within `DOWNSTREAM_ERRORS_WITHIN`: some calls more than one step that is repeated to
its end."""
DOWNSTREAM_ERRORS_WITHIN: Final = "10m"
FAILURES: Final = 5
"""Of a workflow within `FAILURES_WITHIN`, most of its requests."""
FAILURES_WITHIN: Final = "10m"
HEARTBEAT_AGE_SECONDS: Final = DAEMON_SILENT_SECONDS
FAILED_TICKS: Final = 5
"""Of one sensor within ten minutes."""
SCHEDULE_GAP: Final = "6m"
"""A schedule's failed tick counts for ten minutes; the next is up to a quarter of an hour later."""
SCHEDULE_FAILED_BEFORE: Final = "15m"
"""A schedule fails that failed now and so long ago: one tick alone is made up for by the next."""
FAILED_SCHEDULED_RUNS: Final = 2
"""In a row, of one schedule: an outage of a few minutes fails no more."""
HOUSEKEEPING_SECONDS: Final = 6 * 60 * MINUTE_SECONDS
"""A round is due every one or five minutes; only a backlog of years takes hours."""
EXPIRY_DAYS: Final = 2
"""A rotation is asked for a week before; it has failed for five days by then."""
LOGINS_WITHIN: Final = "10m"
"""How long a refused log-in of the local consumer shows."""
