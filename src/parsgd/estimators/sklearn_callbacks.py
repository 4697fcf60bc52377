"""A fit as scikit-learn's callbacks see it: one task, and in it a task for every epoch.

What callbacks are and how they are called is :mod:`sklearn.callback`'s.  Epochs are those that the driver sees, between
two rounds; a fit whose workers meet only once, at the end, has no tasks within.  At the end of a task callbacks may
have an estimator with the weights of that moment: a shallow copy, of neither the rows nor the weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import sklearn.callback

from parsgd.estimators.transaction import transactional
from parsgd.utils.floating import silent
from parsgd.utils.interrupts import interruptible

__all__ = ["FitTasks", "has_callbacks", "with_callbacks"]


def with_callbacks(method: Callable) -> Callable:
    """Decorate a method that fits: callbacks are ended with it, and Ctrl-C ends it when its work is kept.

    The estimator changes when the method has succeeded, all at once.  Only ``fit`` returns after Ctrl-C: a program that
    calls ``partial_fit`` does so in a loop.
    """
    heard = sklearn.callback.with_callbacks(method)

    @functools.wraps(method)
    def fit(self: Any, *arguments: Any, **settings: Any) -> Any:
        with silent():
            return (heard if has_callbacks(self) else method)(self, *arguments, **settings)

    return interruptible(transactional(fit), returns=method.__name__ == "fit")


def has_callbacks(estimator: Any) -> bool:
    """Whether somebody wants to hear of the epochs."""
    return bool(getattr(estimator, "_skl_callbacks", ()))


class FitTasks:
    """The tasks of one fit, which begins; it is the fit's watcher (:data:`parsgd.training.loop.Watcher`).

    ``seen`` are the arguments ``X``, ``y`` and ``metadata`` of the hooks, or functions that give them; ``attributes``
    makes the estimator's fitted attributes of what the fit comes to.  ``epochs`` is how many tasks there may be within.
    """

    def __init__(
        self, estimator: Any, seen: Mapping[str, Any], attributes: Callable[[Any], Mapping[str, Any]], *,
        name: str = "fit", epochs: int = 0, epoch_name: str = "epoch",
    ):  # fmt: skip
        self.arguments = {"estimator": estimator, **seen}
        self.attributes = attributes
        self.epochs = epochs if has_callbacks(estimator) else 0
        self.epoch_name = epoch_name
        self.epoch: Any = None
        self.begun = 0
        self.root: Any = None
        if not has_callbacks(estimator):
            return
        self.root = estimator._init_callback_context(task_name=name, max_subtasks=epochs)
        self.root.call_on_fit_task_begin(**self.arguments)
        self._begin()

    @property
    def watcher(self) -> FitTasks | None:
        """Itself, unless nobody wants to hear of epochs."""
        return self if self.epochs else None

    def __call__(self, fit: Any) -> bool:
        """The end of an epoch; whether a callback wants the fit to end."""
        attributes = functools.cache(functools.partial(self.attributes, fit))
        stop = self.epoch.call_on_fit_task_end(**self.arguments, reconstruction_attributes=attributes)
        self.epoch = None
        if fit.outcome is None and not stop:
            self._begin(attributes)
        return stop

    def end(self) -> None:
        """The end of the fit, whose attributes the estimator has by now."""
        if self.epoch is not None:
            # one that was begun and that nothing came of
            self.epoch.call_on_fit_task_end(**self.arguments)
        if self.root is not None:
            self.root.call_on_fit_task_end(**self.arguments, reconstruction_attributes={})

    def _begin(self, attributes: Any = None) -> None:
        if self.begun == self.epochs:
            return
        self.begun += 1
        self.epoch = self.root.subcontext(task_name=self.epoch_name)
        self.epoch.call_on_fit_task_begin(**self.arguments, reconstruction_attributes=attributes)
