"""Who was let in, and who was not. `reason` and `lane` are closed sets (agents/admission.py, events/rows.py)."""

from __future__ import annotations

from prometheus_client import Counter

ADMITTED = Counter("mayfly_admitted_total", "Jobs that were let in", ("lane",))
REFUSED = Counter("mayfly_admission_refused_total", "Jobs that were told to come again later", ("reason", "lane"))
