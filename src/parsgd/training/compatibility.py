"""Whether the parts of a fit go together: what one needs, another offers.  Asked before any work starts."""

from __future__ import annotations

from parsgd.core import MODEL_OFFERS, PARTITIONS, Algorithm, Engine, Model, Source
from parsgd.errors import IncompatiblePartsError


def refuse_unoffered(model: Model | None, algorithm: Algorithm, engine: Engine) -> None:
    """Compare what the algorithm needs with what the engine and the model offer, before any worker starts.

    Where there is no model yet, it is taken to offer all that a model may.
    """
    capabilities, unavailable = (MODEL_OFFERS, {}) if model is None else (model.capabilities, model.unavailable)
    lacking = sorted(algorithm.requires - engine.capabilities - capabilities)
    if not lacking:
        return
    offered = ", ".join(sorted(engine.capabilities)) or "nothing beyond messages"
    of_model = "" if model is None else f", {type(model).__name__} {', '.join(sorted(capabilities)) or 'nothing'}"
    withheld = [f"The model does not offer {n}: {unavailable[n]}." for n in lacking if n in unavailable]
    advice = "another algorithm, such as 'local'" + ", or an engine that offers it, such as 'threads'" * (not withheld)
    raise IncompatiblePartsError(
        f"algorithm={algorithm.name!r} needs {', '.join(lacking)}; engine={engine.name!r} offers {offered}{of_model}."
        f" {' '.join([*withheld, f'Use {advice}.'])}"
    )


def refuse_sampling(algorithm: Algorithm, source: Source) -> None:
    """Compare how the algorithm wants rows dealt with how the source can deal them, before any work starts."""
    if algorithm.partition not in source.partitions:
        offered = ", ".join(repr(partition) for partition in PARTITIONS if partition in source.partitions)
        raise IncompatiblePartsError(
            f"algorithm={algorithm.name!r} takes rows by partition={algorithm.partition!r}; {type(source).__name__},"
            f" which does not hold them all in memory, offers {offered}. Take one of these, or arrays."
        )
