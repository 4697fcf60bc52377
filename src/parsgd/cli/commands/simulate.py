"""The command ``simulate`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from parsgd.cli.cli_errors import INTERRUPTED, CliExit
from parsgd.cli.options.common_options import ColumnOptions, DescentOptions, ModelOptions, TestFraction
from parsgd.cli.options.option_types import PARALLEL, TRAINING, AsJson, DataFile, Number, Several, Text, option

EXAMPLES = (
    "parsgd simulate breast-cancer --speeds 1,1,0.5,0.1 --latency 5ms --rate 1e4",
    "parsgd simulate digits --speeds 1x8 --algorithm local,weighted --passes 2",
)
_CREW = "Simulated workers"


def simulate(
    data: DataFile,
    what: ModelOptions,
    sgd_run: DescentOptions,
    columns: ColumnOptions,
    speeds: Annotated[str, option("Of each worker, 1 is full speed; 1x900,0.1x100 is 1,000.", panel=_CREW)],
    latency: Annotated[str, option("Time of a message, each way; one, or one each.", panel=_CREW)] = "0s",
    rate: Annotated[float, option("Examples a second at speed 1.", panel=_CREW)] = 1e6,
    jitter: Annotated[float, option("Deviation of a task's time, of its logarithm.", panel=_CREW)] = 0.0,
    failures: Annotated[Several, option("WORKER:TIME or FIRST-LAST:TIME; repeatable.", panel=_CREW)] = None,
    bandwidth: Annotated[Number, option("Bytes a second to each worker; not given: endless.", panel=_CREW)] = None,
    merge: Annotated[str, option("Time for which the driver is busy with a report.", panel=_CREW)] = "0s",
    algorithm: Annotated[
        str, option("Those to compare, NAME or NAME:KEY=VALUE, as local:sync_every=1.", panel=PARALLEL)
    ] = "weighted,local,minibatch",
    seconds: Annotated[Text, option("Length of a round, as a time.", metavar="TIME", panel=PARALLEL)] = None,
    passes: Annotated[int, option("Passes over the data.", panel=TRAINING)] = 5,
    goal: Annotated[Number, option("Loss to be reached; not given: one that all reach.")] = None,
    figure: Annotated[Path | None, option("Draw the plot into a .png, .pdf or .svg, too.", metavar="FILE")] = None,
    test_fraction: TestFraction = 0.2,
    as_json: AsJson = False,
) -> None:
    """Compare algorithms on workers of unequal speed, without having them: training is real, time is virtual.

    Each algorithm trains the same model on as many workers as there are --speeds.  A task of n examples takes
    n / (rate speed) seconds and two messages.  The table tells the virtual time of a pass, the time to a loss that all
    of them reach, and the share of the workers' time that went in waiting; the plot shows the loss of the merged model
    on the rows kept apart (with --test-fraction 0 on the training rows), before the first round and at each tenth of a
    pass.  A one-shot algorithm has no model before its end.

    Times are such as 5ms, 0.2s, 2min.  With --seconds a round (of a one-shot algorithm: the fit) ends after so long
    for all workers, wherever each of them is; an algorithm that cannot count so runs as without it.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.options import parsers
    from parsgd.cli.runs import fit_run, simulate_run
    from parsgd.engines.simulated import Simulated

    crew = tuple(parsers.each(speeds, "--speeds", parsers.number))
    delays = parsers.each(latency, "--latency", parsers.seconds)
    engine = Simulated(
        speeds=crew,
        rate=rate,
        latency_s=delays[0] if len(delays) == 1 else delays,
        jitter=jitter,
        failures=parsers.failures(failures or (), len(crew)),
        bandwidth_bytes_per_s=float("inf") if bandwidth is None else bandwidth,
        merge_s=parsers.seconds(merge, "--merge"),
        seed=sgd_run.seed,
    )
    engine.for_each("latency_s", len(crew))
    request = simulate_run.SimulateRequest(
        fit_run.FitRequest(
            data=data,
            out=None,
            model=what.model,
            target=what.target,
            parameters=sgd_run.parameters(what, max_iter=passes, tol="none"),
            round_seconds=None,
            test_fraction=test_fraction,
            seed=sgd_run.seed,
            choices=columns.choices(),
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
        raise CliExit("Interrupted; what was simulated until then is shown.", INTERRUPTED)
