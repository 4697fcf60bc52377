"""The command ``plan`` and its options."""

from __future__ import annotations

from typing import Annotated

from parsgd.cli.options.common_options import ColumnOptions, DescentOptions, ModelOptions
from parsgd.cli.options.option_types import PARALLEL, TRAINING, AsJson, DataFile, Number, Text, option

EXAMPLES = (
    "parsgd plan breast-cancer --loss log_loss --workers 1,2,8 --latency 0.5ms",
    "parsgd plan table.csv --target price --model sgd-regressor --workers 1,2",
)
_CLUSTER = "Workers beyond this machine's cores"


def plan(
    data: DataFile,
    what: ModelOptions,
    sgd_run: DescentOptions,
    columns: ColumnOptions,
    workers: Annotated[str, option("Numbers of workers to compare.", panel=PARALLEL)] = "1,2,4,8,64",
    latency: Annotated[str, option("Time of a message, each way.", panel=_CLUSTER)] = "0s",
    bandwidth: Annotated[Number, option("Bytes a second to each worker; not given: endless.", panel=_CLUSTER)] = None,
    merge: Annotated[Text, option("Time of the driver for a report; not given: as here.", panel=_CLUSTER)] = None,
    passes: Annotated[int, option("Passes of the serial fit.", panel=TRAINING)] = 5,
    tolerance: Annotated[float, option("How near to its loss is near enough, as a part of it.")] = 0.01,
    seconds: Annotated[Text, option("Time for the plan itself; not given: 2s, or a tenth of a fit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say how many workers to take, with which algorithm, or that more will not help, and why.

    Serial SGD and short fits with each number of workers are rehearsed on the data, which takes about two seconds; what
    rows, rounds and merges cost on this machine is measured.  The table tells the predicted time until a fit by so many
    workers has the loss that serial SGD ends with, on rows kept apart.  Numbers of workers up to the machine's cores
    are threads; more are a cluster whose machines are each as fast as one core here.
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
        model=what.model,
        target=what.target,
        parameters=sgd_run.parameters(what, max_iter=passes),
        round_seconds=None,
        test_fraction=0.0,
        seed=sgd_run.seed,
        choices=columns.choices(),
    )
    report = plan_run.run(request, settings, Console(quiet=as_json))
    if as_json:
        print_json(report)
