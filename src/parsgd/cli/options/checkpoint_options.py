"""The options ``--checkpoint``, ``--resume`` and ``--checkpoint-seconds`` as arguments of the fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsgd.checkpointing import Checkpoint
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console

_SECONDS = Checkpoint.seconds


@dataclass(frozen=True)
class CheckpointRequest:
    """The values of the three options."""

    folder: Path | None = None
    resume: bool = False
    seconds: float | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the estimator's parameters; raise UsageError if the folder is missing.

        >>> CheckpointRequest(Path("run"), seconds=60.0).parameters()
        {'checkpoint': Checkpoint(folder='run', seconds=60.0, keep=2)}
        """
        if self.folder is None:
            alone = "resume" if self.resume else "checkpoint-seconds" if self.seconds is not None else None
            if alone:
                raise UsageError(f"--{alone} needs --checkpoint DIR; add it.")
            return {}
        return {"checkpoint": Checkpoint(str(self.folder), _SECONDS if self.seconds is None else self.seconds)}

    def arguments(self) -> dict[str, bool]:
        """Return the keyword arguments of ``fit``."""
        return {} if self.folder is None else {"resume": self.resume}


def print_resumption(request: CheckpointRequest, estimator: Any, console: Console) -> None:
    """Print the round from which the fit resumed, if ``--resume`` was given."""
    if not request.resume:
        return
    number = estimator.resumed_from_
    found = "no checkpoint; started a new fit" if number is None else f"resumed from round {number}"
    console.print(f"checkpoint: {request.folder}: {found}")
