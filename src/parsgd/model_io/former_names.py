"""Names in files that version 0.1 wrote before its parts were renamed, and the names they have now."""

from __future__ import annotations

PARTS = {"Stopping": "StoppingRule"}
RECORDS = {
    "algorithms.local:_Memory": "algorithms.local_sgd:_Memory",
    "algorithms.adaptive:_Memory": "algorithms.common.adaptive_outer:_Memory",
    "algorithms.asynchronous:Arrivals": "algorithms.async_local_sgd:StalenessCounter",
}
