"""What a run was asked for; every figure gets it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`quick`: small sizes and few turns, to see that everything runs; nothing it says is a measurement.

    `data` is the folder of real data, or None; `scratch` a folder for large files, which is emptied afterwards;
    `n_turns` how many turns the peers take.
    """

    scratch: Path
    quick: bool = False
    data: Path | None = None
    n_turns: int = 9

    def shrink(self, n_rows: int, least: int = 1_000) -> int:
        """A number of rows: as it is, or a hundredth of it in a quick run."""
        return min(n_rows, max(least, n_rows // 100)) if self.quick else n_rows

    @staticmethod
    def say(text: str) -> None:
        """A line about where the run stands."""
        print(f"  {text}", file=sys.stderr, flush=True)
