"""Writes that a decision causes: queued, bounded, never in its way, and in no one's way when one of them fails.

claims       names of internal projects → `own` rules
reviews      held files that somebody wanted → review requests
first_seen   files that no index dates → times; what an older decider left is settled at once, not queued
queues       the three together, and the thread that drains them

Until a write is known the stricter answer holds: a name whose claim is queued is answered by the index that claims
it, or by none; a file without a first-seen time counts as seen just now; a hold holds without its review.
"""

from decider.writes.claims import CLAIMS
from decider.writes.queues import PendingWrites

__all__ = ["CLAIMS", "PendingWrites"]
