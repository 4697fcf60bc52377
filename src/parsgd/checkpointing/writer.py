"""Who keeps the checkpoints of one fit: finds the one to go on from, writes when it is time, and never ends the fit.

Before the first round everything is refused that could not be kept: another fit's checkpoints, a disk that is full, an
algorithm whose memory cannot be written down.  From then on whatever goes wrong is a warning, because the model is
worth more than its checkpoints.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from parsgd.checkpointing import file_format
from parsgd.checkpointing.file_format import CheckpointContent
from parsgd.checkpointing.fit_fingerprint import differences, identity_of
from parsgd.checkpointing.settings import Checkpoint
from parsgd.checkpointing.store import CheckpointStore
from parsgd.core import Algorithm, Model, Shard
from parsgd.errors import CheckpointError, CheckpointWarning, ModelFileError, Outcome
from parsgd.training.snapshot import Snapshot
from parsgd.utils.callers import warn

_ANEW = "To begin anew, name another folder or delete this one."


class CheckpointWriter:
    """A :class:`parsgd.training.loop.Checkpointer` that writes to a folder.

    ``params`` describe the fit, as far as they decide what becomes of it; ``extras`` is what the estimator adds to
    every checkpoint, and has from ``found``, the checkpoint to go on from, or None.
    """

    def __init__(self, folder: CheckpointStore, settings: Checkpoint, resume: bool):
        self.folder, self.settings = folder, settings
        self.found = self._find() if resume else self._refuse_unfinished()
        self.params: Mapping[str, Any] = {}
        self.extras: dict[str, Any] = {} if self.found is None else dict(self.found.extras)
        self.identity: dict[str, dict[str, Any]] = {}
        self.packed = file_format.HistoryEncoder()
        self.latest: Snapshot | None = None
        # the round of the last checkpoint and whether the fit had ended there; when one was last tried
        self.written = (-1, False)
        self.tried = time.monotonic()
        self.failing = False

    # -- what is there -------------------------------------------------------------------------------------------------

    def _find(self) -> CheckpointContent | None:
        """The newest checkpoint that is whole, or None where there is none at all."""
        damaged = []
        for number in reversed(self.folder.rounds()):
            try:
                found = file_format.read(self.folder.file(number))
            except ModelFileError as error:
                if "reads format" in str(error):
                    raise CheckpointError(str(error)) from error
                damaged.append(str(error))
                continue
            if damaged:
                warn(
                    f"{' '.join(damaged)} The fit goes on from the checkpoint of round {number} instead.",
                    CheckpointWarning,
                )
            return found
        if damaged:
            raise CheckpointError(f"There is no whole checkpoint to go on from: {' '.join(damaged)} {_ANEW}")
        return None

    def _refuse_unfinished(self) -> None:
        """Raise rather than write over a fit that somebody may want to go on with."""
        rounds = self.folder.rounds()
        for number in reversed(rounds):
            try:
                if file_format.read(self.folder.file(number)).snapshot.ended:
                    return
                break
            except ModelFileError:
                continue
        if rounds:
            raise CheckpointError(
                f"{self.folder.path} holds the checkpoints of a fit that has not ended; the last one is of round"
                f" {rounds[-1]}. To go on with it call fit(..., resume=True). {_ANEW}"
            )

    # -- the fit's side ------------------------------------------------------------------------------------------------

    def open(
        self, model: Model, algorithm: Algorithm, shards: Sequence[Shard], seeds: Sequence[int], max_epochs: int
    ) -> Snapshot | None:
        self.identity = identity_of(self.params, model, algorithm, shards, seeds)
        if self.found is None:
            return None
        snapshot = self.found.snapshot
        differing = differences(self.found.identity, self.identity)
        if differing:
            raise CheckpointError(
                f"{self.folder.path}: this fit cannot go on from that one's checkpoint, because {'; '.join(differing)}."
                f" Make it as it was (max_iter may be larger, engine and verbose are free). {_ANEW}"
            )
        if algorithm.one_shot and snapshot.outcome is Outcome.MAX_EPOCHS and max_epochs > snapshot.epochs:
            raise CheckpointError(
                f"{self.folder.path}: the fit ended after {snapshot.epochs} passes, and one with"
                f" algorithm={algorithm.name!r} cannot go on: its one average is made. {_ANEW}"
            )
        self.written = (snapshot.round, snapshot.ended)
        # it holds a state, which need not stay
        self.found = None
        return snapshot

    def begin(self, snapshot: Snapshot) -> None:
        whole = file_format.to_parts(self._kept(snapshot), self.packed)
        try:
            # takes the place of a fit that has ended; one that has not was refused
            self.folder.write(snapshot.round, whole, self.settings.keep)
        except OSError as error:
            raise CheckpointError(
                f"{self.folder.path}: a checkpoint of {sum(map(len, whole)):,} bytes cannot be written:"
                f" {error.strerror or error}. Make room, or name another folder."
            ) from error
        self.written, self.tried = (snapshot.round, False), time.monotonic()

    def offer(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        if time.monotonic() - self.tried >= self.settings.seconds:
            self._try(snapshot)

    def rescue(self) -> None:
        if self.latest is not None:
            self._try(self.latest)

    def end(self, snapshot: Snapshot) -> None:
        # what was said of a full disk, while it could still be helped, is said again
        self.failing = False
        self._try(snapshot)

    def _kept(self, snapshot: Snapshot) -> CheckpointContent:
        return CheckpointContent(self.identity, snapshot, self.extras)

    def _try(self, snapshot: Snapshot) -> None:
        """Write it, unless it is there; warn if that cannot be done, once until it can be done again."""
        mark = (snapshot.round, snapshot.ended)
        if mark == self.written:
            return
        try:
            whole = file_format.to_parts(self._kept(snapshot), self.packed)
            self.folder.write(snapshot.round, whole, self.settings.keep)
            self.written, self.failing = mark, False
        except (OSError, MemoryError, CheckpointError) as error:
            if not self.failing:
                self.failing = True
                warnings.warn(
                    f"{self.folder.path}: the checkpoint of round {snapshot.round} could not be written:"
                    f" {getattr(error, 'strerror', None) or error}. The fit goes on; what is kept is round"
                    f" {self.written[0]}.",
                    CheckpointWarning,
                    stacklevel=2,
                )
        finally:
            # not the time before: a slow disk must not take all the time there is
            self.tried = time.monotonic()
