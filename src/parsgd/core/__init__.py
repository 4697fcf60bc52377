"""The contracts between the four axes, and the plain records that travel along them.

A fit is a conversation.  The driver (:mod:`parsgd.training.loop`) sends each worker a :class:`Task`; the worker runs
stochastic gradient descent on its :class:`Shard` and answers with a :class:`Report`; an :class:`Algorithm` merges the
reports into the next state.  Who carries the messages is the :class:`Engine`'s business, what is fitted is the
:class:`Model`'s, and where the rows come from is the :class:`Source`'s.

A state is one flat, contiguous vector.  So a merge is a weighted sum, a message one buffer, a checkpoint one array.
"""

from parsgd.core.defaults import Synchronous, silent
from parsgd.core.protocols import (
    MODEL_OFFERS,
    SAMPLINGS,
    Algorithm,
    Crew,
    Descent,
    Engine,
    Model,
    Pulse,
    Shard,
    SharedModel,
    Source,
    Work,
)
from parsgd.core.records import Block, Budget, CsrRows, DenseRows, Lost, Merge, Report, Rows, Standing, Tally, Task

__all__ = [
    "MODEL_OFFERS",
    "SAMPLINGS",
    "Algorithm",
    "Block",
    "Budget",
    "Crew",
    "CsrRows",
    "DenseRows",
    "Descent",
    "Engine",
    "Lost",
    "Merge",
    "Model",
    "Pulse",
    "Report",
    "Rows",
    "Shard",
    "SharedModel",
    "Source",
    "Standing",
    "Synchronous",
    "Tally",
    "Task",
    "Work",
    "silent",
]
