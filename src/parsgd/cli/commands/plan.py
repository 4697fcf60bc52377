"""The command ``plan`` and its options."""

from __future__ import annotations

from typing import Annotated

from parsgd.cli.options.common_options import ColumnOptions, ModelOptions, TrainingOptions
from parsgd.cli.options.option_types import PARALLEL, TRAINING, AsJson, DataFile, Number, Text, option

EXAMPLES = (
    "parsgd plan breast-cancer --loss log_loss --workers 1,2,8 --latency 0.5ms",
    "parsgd plan table.csv --target price --model sgd-regressor --workers 1,2",
)
_CLUSTER = "Workers beyond this machine's cores"


def plan(
    data: DataFile,
    model_options: ModelOptions,
    training: TrainingOptions,
    columns: ColumnOptions,
    workers: Annotated[str, option("Worker counts to compare.", panel=PARALLEL)] = "1,2,4,8,64",
    latency: Annotated[str, option("Latency of a message, one way.", panel=_CLUSTER)] = "0s",
    bandwidth: Annotated[Number, option("Bytes per second per worker. Default: unlimited.", panel=_CLUSTER)] = None,
    merge: Annotated[Text, option("Driver's time per report. Default: measured.", panel=_CLUSTER)] = None,
    passes: Annotated[int, option("Passes of the serial fit.", panel=TRAINING)] = 5,
    tolerance: Annotated[float, option("Relative tolerance on the serial fit's loss.")] = 0.01,
    seconds: Annotated[Text, option("Time for planning. Default: 2s, or a tenth of a fit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recommend a number of workers and an algorithm, with the reason.

    Short trial fits run on the data with each number of workers, for about two seconds.  They measure the cost of rows,
    rounds and merges on this machine.  The table shows the predicted time until each fit reaches the final loss of
    serial SGD on held-out rows.  Up to the number of cores, workers are threads; beyond that they are a cluster of
    machines, each as fast as one core of this machine.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.options import parsers
    from parsgd.cli.runs import fit_run, plan_run

    settings = {
        "n_workers": parsers.counts(workers, "--workers"),
        "latency_s": parsers.seconds(latency, "--latency"),
        "bandwidth_bytes_per_s": float("inf") if bandwidth is None else bandwidth,
        "merge_s": None if merge is None else parsers.seconds(merge, "--merge"),
        "tolerance": tolerance,
        "seconds": None if seconds is None else parsers.seconds(seconds, "--seconds"),
    }
    request = fit_run.FitRequest(
        data=data,
        out=None,
        model=model_options.model,
        target=model_options.target,
        parameters=training.parameters(model_options, max_iter=passes),
        round_seconds=None,
        test_fraction=0.0,
        seed=training.seed,
        encoding_options=columns.encoding_options(),
    )
    report = plan_run.run(request, settings, Console(quiet=as_json))
    if as_json:
        print_json(report)
