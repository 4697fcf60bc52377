"""Registry of the members of each axis by name; a member is imported on first use."""

from __future__ import annotations

from typing import Any

from parsgd.errors import InvalidArgumentError, MissingDependencyError, choose
from parsgd.utils import first_use

ALGORITHMS = {
    "simuparallel": "parsgd.algorithms.simuparallel:SimuParallel",
    "weighted": "parsgd.algorithms.weighted_average:WeightedAverage",
    "local": "parsgd.algorithms.local_sgd:LocalSGD",
    "diloco": "parsgd.algorithms.diloco:DiLoCo",
    "post_local": "parsgd.algorithms.post_local_sgd:PostLocalSGD",
    "minibatch": "parsgd.algorithms.minibatch:MiniBatch",
    "delayed": "parsgd.algorithms.delayed:DelayedSGD",
    "asynchronous": "parsgd.algorithms.async_local_sgd:AsyncLocalSGD",
    "async_diloco": "parsgd.algorithms.async_diloco:AsyncDiLoCo",
    "elastic": "parsgd.algorithms.elastic:ElasticAveraging",
    "hogwild": "parsgd.algorithms.hogwild:Hogwild",
    "rennala": "parsgd.algorithms.optimal_time.rennala:Rennala",
    "malenia": "parsgd.algorithms.optimal_time.malenia:Malenia",
    "async_sgd": "parsgd.algorithms.optimal_time.async_sgd:AsyncSGD",
    "ringmaster": "parsgd.algorithms.optimal_time.ringmaster:Ringmaster",
    "ringleader": "parsgd.algorithms.optimal_time.ringleader:Ringleader",
    "msync": "parsgd.algorithms.optimal_time.m_synchronous:MSync",
}
ENGINES = {
    "serial": "parsgd.engines.serial:Serial",
    "threads": "parsgd.engines.threads:Threads",
    "processes": "parsgd.engines.processes.process_engine:Processes",
    "simulated": "parsgd.engines.simulated:Simulated",
    "dask": "parsgd.engines.dask.dask_engine:Dask",
    "ray": "parsgd.engines.ray.ray_engine:Ray",
}
MODELS = {
    "linear": "parsgd.models.linear.linear_model:Linear",
    "network": "parsgd.models.network.network_model:Network",
}
# Descriptions of the models' estimators, for model files, plans, exports and averages.
KINDS = {
    "linear": "parsgd.estimators.linear.linear_kind:LINEAR",
    "network": "parsgd.estimators.network.network_kind:NETWORK",
}
SOURCES = {
    "arrays": "parsgd.data.sources.array_source:ArraySource",
    "blocks": "parsgd.data.sources.streaming_source:StreamingSource",
}
# Extra that installs the optional package of a member.
EXTRAS = {"parsgd.engines.dask.dask_engine:Dask": "dask", "parsgd.engines.ray.ray_engine:Ray": "ray"}


def load(path: str) -> Any:
    """Import and return the class or object at ``module:name``."""
    module, name = path.split(":")
    try:
        return getattr(first_use.load(module), name)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(path)
        if extra is None:
            raise
        raise MissingDependencyError(f"{name} needs {error.name}: pip install 'parsgd[{extra}]'") from error


def resolve(axis: dict[str, str], member: Any, argument: str, owner: str, methods: tuple[str, ...]) -> Any:
    """Return the object named ``member``, or ``member`` itself if it has the contract's ``methods``.

    >>> resolve(ENGINES, "serial", "engine", "SGDClassifier", ("open",))
    Serial()
    """
    if isinstance(member, type):
        raise InvalidArgumentError(
            f"The {argument!r} parameter of {owner} must be an instance. Got the class {member.__name__}; call it."
        )
    if all(hasattr(member, method) for method in methods) and not isinstance(member, str):
        return member
    return load(axis[choose(member, axis, argument, owner)])()
