"""Compatibility of the parts of a fit, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping

from parsgd.core import MODEL_CAPABILITIES, PARTITIONS, Algorithm, Engine, Model, Source
from parsgd.errors import IncompatiblePartsError


def refuse_unoffered(model: Model | None, algorithm: Algorithm, engine: Engine) -> None:
    """Raise IncompatiblePartsError if neither the engine nor the model offers a capability the algorithm requires.

    If ``model`` is None, all capabilities of models count as offered.
    """
    capabilities = MODEL_CAPABILITIES if model is None else model.capabilities
    unavailable: Mapping[str, str] = {} if model is None else model.unavailable
    lacking = sorted(algorithm.traits.requires - engine.capabilities - capabilities)
    if not lacking:
        return
    offered = ", ".join(sorted(engine.capabilities)) or "nothing beyond messages"
    of_model = "" if model is None else f", {type(model).__name__} {', '.join(sorted(capabilities)) or 'nothing'}"
    withheld = [f"The model does not offer {n}: {unavailable[n]}." for n in lacking if n in unavailable]
    advice = "another algorithm, such as 'local' with its default rule and outer_optimizer"
    if MODEL_CAPABILITIES.isdisjoint(lacking):
        advice += ", or an engine that offers it, such as 'threads'"
    raise IncompatiblePartsError(
        f"algorithm={algorithm.name!r} needs {', '.join(lacking)}; engine={engine.name!r} offers {offered}{of_model}."
        f" {' '.join([*withheld, f'Use {advice}.'])}"
    )


def refuse_sampling(algorithm: Algorithm, source: Source) -> None:
    """Raise IncompatiblePartsError if the source does not offer the algorithm's partition."""
    partition = algorithm.traits.partition
    if partition not in source.partitions:
        offered = ", ".join(repr(name) for name in PARTITIONS if name in source.partitions)
        raise IncompatiblePartsError(
            f"algorithm={algorithm.name!r} needs partition={partition!r}; {type(source).__name__} offers {offered}. Use"
            " one of these. Arrays offer all."
        )
