"""What operators do by hand, counted. `action` is a closed set (audit/operated.py)."""

from __future__ import annotations

from prometheus_client import Counter

ACTIONS = Counter("mayfly_operator_actions_total", "Jobs and parked events that an operator moved by hand", ("action",))
