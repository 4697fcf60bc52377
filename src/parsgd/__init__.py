"""parsgd: parallel stochastic gradient descent with scikit-learn's face.

Importing it imports nothing else: a name brings its module when it is first used, and numba comes with the first fit.
So the command line answers at once, and a worker process imports what it works with.
"""

from typing import Any

__version__ = "0.1.0"

# Where each name is defined.
_HOMES = {
    "Asynchronous": "algorithms.asynchronous",
    "Checkpoint": "checkpointing",
    "Delayed": "algorithms.delayed",
    "Elastic": "algorithms.elastic",
    "Hogwild": "algorithms.hogwild",
    "Local": "algorithms.local",
    "MLPClassifier": "estimators.mlp_classifier",
    "MLPRegressor": "estimators.mlp_regressor",
    "MiniBatch": "algorithms.minibatch",
    "Processes": "engines.processes",
    "SGDClassifier": "estimators.classifier",
    "SGDOneClassSVM": "estimators.one_class",
    "SGDRegressor": "estimators.regressor",
    "SimuParallel": "algorithms.simuparallel",
    "Simulated": "engines.simulated",
    "Weighted": "algorithms.weighted",
    "from_sklearn": "estimators.from_sklearn",
    "from_state_dict": "exporting.state_dict",
    "load": "saving",
    "merge": "estimators.merging",
    "network_state_dict": "exporting.state_dict",
    "open_dataset": "datasets.opening",
    "plan": "planning.planner",
    "report": "reporting.report",
    "save": "saving",
    "to_onnx": "exporting.to_onnx",
    "watch": "progress",
}
# Modules that are attributes of the package, too.
_MODULES = {"columns": "datasets.columns", "errors": "errors", "saving": "saving"}

__all__ = sorted([*_HOMES, "columns"])


def __getattr__(name: str) -> Any:
    from parsgd.first_use import load

    if name in _MODULES:
        value: Any = load(f"{__name__}.{_MODULES[name]}")
    elif name in _HOMES:
        value = getattr(load(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # the next time it is there
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
