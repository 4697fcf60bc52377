"""Choice between compiled rounds and rounds that return to Python."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from parsgd.core import GroupPool, WorkerPool, has_compiled_gradients, has_compiled_rounds, is_planned
from parsgd.training.compiled.compiled_rounds import CompiledRounds
from parsgd.training.compiled.gradient_rounds import GradientRounds
from parsgd.training.compiled.state_rounds import StateRounds

if TYPE_CHECKING:
    from parsgd.training.rounds import Loop

_log = logging.getLogger(__name__)
# More states are summed in a tree (parsgd.utils.tree_reduce).
_MAX_WORKERS = 16


def make_compiled_rounds(loop: Loop, pool: WorkerPool) -> CompiledRounds | None:
    """Return the compiled rounds of a fit; None if its rounds return to Python, which a debug message explains."""
    model, algorithm = loop.model, loop.algorithm
    if loop.n_workers == 1:
        return None
    if not isinstance(pool, GroupPool):
        why = "the workers do not share memory"
    elif not is_planned(algorithm):
        why = f"rounds of {algorithm.name!r} with these parameters depend on earlier results"
    elif not all(shard.in_one_block for shard in loop.shards):
        why = "the rows are streamed"
    elif loop.n_workers > _MAX_WORKERS:
        why = f"there are more than {_MAX_WORKERS} workers"
    elif loop.busy:
        why = "the checkpoint has tasks under way"
    elif algorithm.traits.planned == "gradient" and has_compiled_gradients(model):
        return GradientRounds(loop, pool, model, algorithm)
    elif algorithm.traits.planned != "gradient" and has_compiled_rounds(model):
        return StateRounds(loop, pool, model, algorithm)
    else:
        why = "the model has no compiled rounds with these parameters"
    _log.debug("Rounds return to Python: %s.", why)
    return None
