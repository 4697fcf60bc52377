"""Checkpoint writer of one fit: finds the checkpoint to resume from and writes new ones at intervals.

Before the first round it raises for anything that prevents checkpoints: another fit's checkpoints, a full disk, or an
algorithm whose memory cannot be saved.  Later failures are warnings, because the model matters more than its
checkpoints.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from parsgd.checkpointing import file_format
from parsgd.checkpointing.file_format import CheckpointContent
from parsgd.checkpointing.fit_fingerprint import differences, fingerprint_of
from parsgd.checkpointing.settings import Checkpoint
from parsgd.checkpointing.store import CheckpointStore
from parsgd.core import Algorithm, Model, Shard
from parsgd.errors import CheckpointError, CheckpointWarning, ModelFileError, Outcome
from parsgd.training.snapshot import Snapshot
from parsgd.utils.callers import warn

_START_OVER = "To start a new fit, name another folder or delete this one."


class CheckpointWriter:
    """A :class:`parsgd.training.loop.Checkpointer` that writes to a folder.

    ``params`` are the parameters that determine the result of the fit.  ``extras`` are the estimator's additions to
    every checkpoint.  ``found`` is the checkpoint to resume from, or None.
    """

    def __init__(self, folder: CheckpointStore, settings: Checkpoint, resume: bool):
        self.folder: CheckpointStore = folder
        self.settings: Checkpoint = settings
        self.found = self._find() if resume else self._check_finished()
        self.params: Mapping[str, Any] = {}
        self.extras: dict[str, Any] = {} if self.found is None else dict(self.found.extras)
        self.identity: dict[str, dict[str, Any]] = {}
        self.encoder: file_format.HistoryEncoder = file_format.HistoryEncoder()
        self.latest: Snapshot | None = None
        # round of the last checkpoint, and True if the fit had ended there; time of the last attempt
        self.written: tuple[int, bool] = (-1, False)
        self.tried_at: float = time.monotonic()
        self.failing: bool = False

    # -- existing checkpoints ------------------------------------------------------------------------------------------

    def _newest(self) -> tuple[int, CheckpointContent | None, list[ModelFileError]]:
        """Return the newest intact checkpoint, its round, and the errors of the damaged ones after it."""
        damaged: list[ModelFileError] = []
        for number in reversed(self.folder.rounds()):
            try:
                return number, file_format.read(self.folder.file(number)), damaged
            except ModelFileError as error:
                damaged.append(error)
        return -1, None, damaged

    def _find(self) -> CheckpointContent | None:
        """Return the newest intact checkpoint, or None if there are no checkpoints."""
        number, found, damaged = self._newest()
        for error in damaged:
            if "reads format" in str(error):
                raise CheckpointError(str(error)) from error
        errors = " ".join(map(str, damaged))
        if damaged and found is None:
            raise CheckpointError(f"There is no intact checkpoint to resume from: {errors} {_START_OVER}")
        if damaged:
            warn(f"{errors} The fit resumes from the checkpoint of round {number} instead.", CheckpointWarning)
        return found

    def _check_finished(self) -> None:
        """Raise instead of overwriting an unfinished fit."""
        _, found, _ = self._newest()
        rounds = self.folder.rounds()
        if rounds and not (found is not None and found.snapshot.ended):
            raise CheckpointError(
                f"{self.folder.path} holds the checkpoints of a fit that has not ended; the last one is of round"
                f" {rounds[-1]}. To resume it call fit(..., resume=True). {_START_OVER}"
            )

    # -- calls from the training loop ----------------------------------------------------------------------------------

    def open(
        self, model: Model, algorithm: Algorithm, shards: Sequence[Shard], seeds: Sequence[int], max_epochs: int
    ) -> Snapshot | None:
        self.identity = fingerprint_of(self.params, model, algorithm, shards, seeds)
        if self.found is None:
            return None
        snapshot = self.found.snapshot
        differing = differences(self.found.identity, self.identity)
        if differing:
            raise CheckpointError(
                f"{self.folder.path}: this fit cannot resume from that checkpoint, because {'; '.join(differing)}. Use"
                f" the same settings (max_iter may be larger, engine and verbose may differ). {_START_OVER}"
            )
        if algorithm.traits.one_shot and snapshot.outcome is Outcome.MAX_EPOCHS and max_epochs > snapshot.epochs:
            raise CheckpointError(
                f"{self.folder.path}: the fit ended after {snapshot.epochs} passes, and one with"
                f" algorithm={algorithm.name!r} cannot resume after its only average. {_START_OVER}"
            )
        self.written = (snapshot.round, snapshot.ended)
        # release the state that it holds
        self.found = None
        return snapshot

    def begin(self, snapshot: Snapshot) -> None:
        parts = file_format.to_parts(self._content(snapshot), self.encoder)
        try:
            # overwrites a finished fit; for an unfinished one, the constructor has raised
            self.folder.write(snapshot.round, parts, self.settings.keep)
        except OSError as error:
            raise CheckpointError(
                f"{self.folder.path}: a checkpoint of {sum(map(len, parts)):,} bytes cannot be written:"
                f" {error.strerror or error}. Free some space, or name another folder."
            ) from error
        self.written, self.tried_at = (snapshot.round, False), time.monotonic()

    def offer(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        if time.monotonic() - self.tried_at >= self.settings.seconds:
            self._try_write(snapshot)

    def rescue(self) -> None:
        if self.latest is not None:
            self._try_write(self.latest)

    def end(self, snapshot: Snapshot) -> None:
        # repeat the warning about a full disk, so that it appears at the end as well
        self.failing = False
        self._try_write(snapshot)

    def _content(self, snapshot: Snapshot) -> CheckpointContent:
        return CheckpointContent(self.identity, snapshot, self.extras)

    def _try_write(self, snapshot: Snapshot) -> None:
        """Write the checkpoint unless it exists; on failure warn once, until a write succeeds."""
        mark = (snapshot.round, snapshot.ended)
        if mark == self.written:
            return
        try:
            parts = file_format.to_parts(self._content(snapshot), self.encoder)
            self.folder.write(snapshot.round, parts, self.settings.keep)
            self.written, self.failing = mark, False
        except (OSError, MemoryError, CheckpointError) as error:
            if not self.failing:
                self.failing = True
                warnings.warn(
                    f"{self.folder.path}: the checkpoint of round {snapshot.round} could not be written:"
                    f" {getattr(error, 'strerror', None) or error}. The fit continues; the last checkpoint is of round"
                    f" {self.written[0]}.",
                    CheckpointWarning,
                    stacklevel=2,
                )
        finally:
            # the time after the attempt, so that a slow disk does not use most of the fit's time
            self.tried_at = time.monotonic()
