"""``--checkpoint``, ``--resume`` and ``--checkpoint-seconds``: what they ask of the fit, and what is said of it."""

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
    """What the three options were given."""

    folder: Path | None = None
    resume: bool = False
    seconds: float | None = None

    def parameters(self) -> dict[str, Any]:
        """Those of the estimator; refuses what makes no sense without a folder.

        >>> CheckpointRequest(Path("run"), seconds=60.0).parameters()
        {'checkpoint': Checkpoint(folder='run', seconds=60.0, keep=2)}
        """
        if self.folder is None:
            lone = "resume" if self.resume else "checkpoint-seconds" if self.seconds is not None else None
            if lone:
                raise UsageError(f"--{lone} is for fits with --checkpoint DIR; name the folder, too.")
            return {}
        return {"checkpoint": Checkpoint(str(self.folder), _SECONDS if self.seconds is None else self.seconds)}

    def arguments(self) -> dict[str, bool]:
        """Those of ``fit``."""
        return {} if self.folder is None else {"resume": self.resume}


def tell(request: CheckpointRequest, estimator: Any, voice: Console) -> None:
    """What became of ``--resume``."""
    if not request.resume:
        return
    number = estimator.resumed_from_
    found = "nothing to go on from; the fit began" if number is None else f"the fit went on from round {number}"
    voice.say(f"checkpoint: {request.folder}: {found}")
