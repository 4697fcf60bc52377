"""A fit as a tree of tasks for scikit-learn's callbacks: one task per fit, with a subtask per epoch.

:mod:`sklearn.callback` defines the callbacks. Epochs are those that the driver observes, between two rounds; a one-shot
fit has no subtasks. At the end of a task callbacks can get an estimator with the current weights: a shallow copy that
shares rows and weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import sklearn.callback

from parsgd.estimators.fitted.transaction import transactional
from parsgd.utils.floating import silent
from parsgd.utils.interrupts import interruptible

Method = TypeVar("Method", bound=Callable[..., Any])

__all__ = ["FitTasks", "has_callbacks", "with_callbacks"]


def with_callbacks(method: Method) -> Method:
    """Decorate a fitting method: run callbacks, handle Ctrl-C after the work is kept, silence NumPy warnings.

    The estimator changes in one step when the method succeeds. After Ctrl-C only ``fit`` returns; ``partial_fit``
    raises KeyboardInterrupt, because programs call it in a loop.
    """
    method_with_callbacks = sklearn.callback.with_callbacks(method)

    @functools.wraps(method)
    def fit(self: Any, *arguments: Any, **settings: Any) -> Any:
        with silent():
            return (method_with_callbacks if has_callbacks(self) else method)(self, *arguments, **settings)

    return cast(Method, interruptible(transactional(fit), returns=method.__name__ == "fit"))


def has_callbacks(estimator: Any) -> bool:
    """Return True if callbacks are set on the estimator."""
    return bool(getattr(estimator, "_skl_callbacks", ()))


class FitTasks:
    """Tasks of one fit, started on construction; an epoch callback (:data:`parsgd.training.loop.EpochCallback`).

    ``callback_arguments`` holds ``X``, ``y`` and ``metadata`` for the hooks, or functions that return them.
    ``attributes`` builds the fitted attributes from a fit's result. ``epochs`` is the maximum number of subtasks.
    """

    def __init__(
        self,
        estimator: Any,
        callback_arguments: Mapping[str, Any],
        attributes: Callable[[Any], Mapping[str, Any]],
        *,
        name: str = "fit",
        epochs: int = 0,
        epoch_name: str = "epoch",
    ):
        self.arguments: dict[str, Any] = {"estimator": estimator, **callback_arguments}
        self.attributes = attributes
        self.epochs: int = epochs if has_callbacks(estimator) else 0
        self.epoch_name = epoch_name
        self.epoch: Any = None
        self.n_started: int = 0
        self.root: Any = None
        if not has_callbacks(estimator):
            return
        self.root = estimator._init_callback_context(task_name=name, max_subtasks=epochs)
        self.root.call_on_fit_task_begin(**self.arguments)
        self._start_epoch()

    @property
    def epoch_callback(self) -> FitTasks | None:
        """The object itself if epochs are observed, else None."""
        return self if self.epochs else None

    def __call__(self, fit: Any) -> bool:
        """End an epoch; return True if a callback requests a stop."""
        attributes = functools.cache(functools.partial(self.attributes, fit))
        stop = self.epoch.call_on_fit_task_end(**self.arguments, reconstruction_attributes=attributes)
        self.epoch = None
        if fit.outcome is None and not stop:
            self._start_epoch(attributes)
        return stop

    def end(self) -> None:
        """End the fit's task, after the attributes are set."""
        if self.epoch is not None:
            # an epoch that was started but not run
            self.epoch.call_on_fit_task_end(**self.arguments)
        if self.root is not None:
            self.root.call_on_fit_task_end(**self.arguments, reconstruction_attributes={})

    def _start_epoch(self, attributes: Any = None) -> None:
        if self.n_started == self.epochs:
            return
        self.n_started += 1
        self.epoch = self.root.subcontext(task_name=self.epoch_name)
        self.epoch.call_on_fit_task_begin(**self.arguments, reconstruction_attributes=attributes)
