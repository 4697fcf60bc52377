"""The command ``simulate`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from parsgd.cli.cli_errors import INTERRUPTED, CliExit
from parsgd.cli.options.common_options import ColumnOptions, ModelOptions, TestFraction, TrainingOptions
from parsgd.cli.options.option_types import PARALLEL, TRAINING, AsJson, DataFile, Number, Text, Texts, option

EXAMPLES = (
    "parsgd simulate breast-cancer --speeds 1,1,0.5,0.1 --latency 5ms --rate 1e4",
    "parsgd simulate digits --speeds 1x8 --algorithm local,weighted --passes 2",
)
_WORKERS = "Simulated workers"


def simulate(
    data: DataFile,
    model_options: ModelOptions,
    training: TrainingOptions,
    columns: ColumnOptions,
    speeds: Annotated[str, option("Speed of each worker, 1 is full; 1x900,0.1x100: 1,000 workers.", panel=_WORKERS)],
    latency: Annotated[str, option("Latency of a message, one way; one, or one per worker.", panel=_WORKERS)] = "0s",
    rate: Annotated[float, option("Examples per second at speed 1.", panel=_WORKERS)] = 1e6,
    jitter: Annotated[float, option("Standard deviation of the logarithm of a task's time.", panel=_WORKERS)] = 0.0,
    failures: Annotated[Texts, option("WORKER:TIME or FIRST-LAST:TIME; repeatable.", panel=_WORKERS)] = None,
    bandwidth: Annotated[Number, option("Bytes per second per worker. Default: unlimited.", panel=_WORKERS)] = None,
    merge: Annotated[str, option("Driver's time per report.", panel=_WORKERS)] = "0s",
    algorithm: Annotated[
        str, option("Algorithms to compare, NAME or NAME:KEY=VALUE, such as local:sync_every=1.", panel=PARALLEL)
    ] = "weighted,local,minibatch",
    seconds: Annotated[Text, option("Length of a round, such as 0.2s.", metavar="TIME", panel=PARALLEL)] = None,
    passes: Annotated[int, option("Passes over the data.", panel=TRAINING)] = 5,
    goal: Annotated[Number, option("Target loss. Default: the lowest that all reach.")] = None,
    figure: Annotated[Path | None, option("Save the plot as .png, .pdf or .svg.", metavar="FILE")] = None,
    test_fraction: TestFraction = 0.2,
    as_json: AsJson = False,
) -> None:
    """Compare algorithms on simulated workers of different speeds: training is real, time is virtual.

    Each algorithm trains the same model with one worker per speed in --speeds.  A task of n examples takes
    n / (rate speed) seconds and two messages.  The table shows the virtual time per pass, the time to a loss that all
    algorithms reach, and the fraction of the workers' time spent waiting.  The plot shows the loss of the merged model
    on the held-out rows (with --test-fraction 0 on the training rows), at the start and after each tenth of a pass.  A
    one-shot algorithm has no merged model before the end of the fit.

    Times have units, such as 5ms, 0.2s, 2min.  With --seconds each round ends after that time for all workers; with a
    one-shot algorithm, the fit does.  Algorithms without timed rounds ignore it.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.options import parsers
    from parsgd.cli.runs import fit_run, simulate_run
    from parsgd.engines.simulated import Simulated

    worker_speeds = tuple(parsers.values_of(speeds, "--speeds", parsers.number))
    delays = parsers.values_of(latency, "--latency", parsers.seconds)
    engine = Simulated(
        speeds=worker_speeds,
        rate=rate,
        latency_s=delays[0] if len(delays) == 1 else delays,
        jitter=jitter,
        failures=parsers.failures(failures or (), len(worker_speeds)),
        bandwidth_bytes_per_s=float("inf") if bandwidth is None else bandwidth,
        merge_s=parsers.seconds(merge, "--merge"),
        seed=training.seed,
    )
    engine.for_each("latency_s", len(worker_speeds))
    request = simulate_run.SimulateRequest(
        fit_run.FitRequest(
            data=data,
            out=None,
            model=model_options.model,
            target=model_options.target,
            parameters=training.parameters(model_options, max_iter=passes, tol="none"),
            round_seconds=None,
            test_fraction=test_fraction,
            seed=training.seed,
            encoding_options=columns.encoding_options(),
        ),
        simulate_run.algorithms_of(algorithm, None if seconds is None else parsers.seconds(seconds, "--seconds")),
        engine,
        goal,
        figure,
    )
    report = simulate_run.run(request, Console(quiet=as_json))
    if as_json:
        print_json(report)
    if any(result["outcome"] == "INTERRUPTED" for result in report["algorithms"]):
        raise CliExit("Interrupted; the results so far are shown.", INTERRUPTED)
