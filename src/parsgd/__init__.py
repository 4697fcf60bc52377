"""parsgd: parallel stochastic gradient descent with scikit-learn's API.

Importing the package imports little else.  A module is imported when one of its names is first used, and numba with the
first fit.  This keeps the command line fast and the worker processes small.
"""

import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    # ``python -m parsgd`` searches the current folder first, and would execute a file json.py there
    _run = next(pair for pair in zip(sys.orig_argv, [*sys.orig_argv[1:], ""], strict=True) if pair[0][:2] == "-m")
    if (_run[0][2:] or _run[1]).split(".")[0] == "parsgd":
        del sys.path[0]
    del _run

import contextlib
from typing import Any

with contextlib.suppress(ImportError):
    # These can be imported only while the main thread runs, but a fit in another thread may need them.
    import concurrent.futures.process
    import concurrent.futures.thread  # noqa: F401

__version__ = "0.1.0"

# Module that defines each name.
_MODULE_OF = {
    "AsyncDiLoCo": "algorithms.async_diloco",
    "AsyncLocalSGD": "algorithms.async_local_sgd",
    "AsyncSGD": "algorithms.optimal_time.async_sgd",
    "Checkpoint": "checkpointing",
    "DelayedSGD": "algorithms.delayed",
    "DiLoCo": "algorithms.diloco",
    "ElasticAveraging": "algorithms.elastic",
    "Hogwild": "algorithms.hogwild",
    "LocalSGD": "algorithms.local_sgd",
    "MLPClassifier": "estimators.network.mlp_classifier",
    "MLPRegressor": "estimators.network.mlp_regressor",
    "MSync": "algorithms.optimal_time.m_synchronous",
    "Malenia": "algorithms.optimal_time.malenia",
    "MiniBatch": "algorithms.minibatch",
    "PostLocalSGD": "algorithms.post_local_sgd",
    "Processes": "engines.processes.process_engine",
    "Rennala": "algorithms.optimal_time.rennala",
    "Ringleader": "algorithms.optimal_time.ringleader",
    "Ringmaster": "algorithms.optimal_time.ringmaster",
    "SGDClassifier": "estimators.linear.sgd_classifier",
    "SGDClassifierCV": "estimators.search.sgd_classifier_cv",
    "SGDOneClassSVM": "estimators.linear.one_class_svm",
    "SGDRegressor": "estimators.linear.sgd_regressor",
    "SGDRegressorCV": "estimators.search.sgd_regressor_cv",
    "SimuParallel": "algorithms.simuparallel",
    "Simulated": "engines.simulated",
    "WeightedAverage": "algorithms.weighted_average",
    "average_models": "model_io.average_models",
    "compile_kernels": "precompile",
    "from_sklearn": "model_io.from_sklearn",
    "from_state_dict": "model_io.state_dict",
    "load": "model_io.model_files",
    "network_state_dict": "model_io.state_dict",
    "observe_progress": "training.reporting.progress",
    "open_dataset": "data.open_dataset",
    "plan": "planning.planner",
    "save": "model_io.model_files",
    "to_onnx": "model_io.to_onnx",
    "write_report": "viz.report.write_report",
}
# Modules that are attributes of the package.
_MODULES = {"columns": "data.columns.column_kinds", "errors": "errors"}

__all__ = sorted([*_MODULE_OF, "columns"])


def __getattr__(name: str) -> Any:
    from parsgd.utils.first_use import load

    if name in _MODULES:
        value: Any = load(f"{__name__}.{_MODULES[name]}")
    elif name in _MODULE_OF:
        value = getattr(load(f"{__name__}.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # later accesses find it without this function
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
