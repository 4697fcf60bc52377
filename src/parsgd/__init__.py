"""parsgd: parallel stochastic gradient descent with scikit-learn's face.

Importing it imports scikit-learn's base and nothing compiled; numba is imported at the first fit.
"""

from parsgd.algorithms.asynchronous import Asynchronous
from parsgd.algorithms.delayed import Delayed
from parsgd.algorithms.elastic import Elastic
from parsgd.algorithms.hogwild import Hogwild
from parsgd.algorithms.local import Local
from parsgd.algorithms.minibatch import MiniBatch
from parsgd.algorithms.simuparallel import SimuParallel
from parsgd.algorithms.weighted import Weighted
from parsgd.checkpointing import Checkpoint
from parsgd.datasets import columns
from parsgd.datasets.opening import open_dataset
from parsgd.engines.processes import Processes
from parsgd.engines.simulated import Simulated
from parsgd.estimators.classifier import SGDClassifier
from parsgd.estimators.from_sklearn import from_sklearn
from parsgd.estimators.merging import merge
from parsgd.estimators.mlp_classifier import MLPClassifier
from parsgd.estimators.mlp_regressor import MLPRegressor
from parsgd.estimators.one_class import SGDOneClassSVM
from parsgd.estimators.regressor import SGDRegressor
from parsgd.exporting.state_dict import from_state_dict, network_state_dict
from parsgd.exporting.to_onnx import to_onnx
from parsgd.planning.planner import plan
from parsgd.progress import watch
from parsgd.reporting.report import report
from parsgd.saving import load, save

__version__ = "0.1.0"

__all__ = [
    "Asynchronous",
    "Checkpoint",
    "Delayed",
    "Elastic",
    "Hogwild",
    "Local",
    "MLPClassifier",
    "MLPRegressor",
    "MiniBatch",
    "Processes",
    "SGDClassifier",
    "SGDOneClassSVM",
    "SGDRegressor",
    "SimuParallel",
    "Simulated",
    "Weighted",
    "columns",
    "from_sklearn",
    "from_state_dict",
    "load",
    "merge",
    "network_state_dict",
    "open_dataset",
    "plan",
    "report",
    "save",
    "to_onnx",
    "watch",
]
