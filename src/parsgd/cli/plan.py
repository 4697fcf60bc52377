"""The command ``plan`` and its options."""

from __future__ import annotations

from typing import Annotated

from parsgd.cli.options import (
    DATA,
    PARALLEL,
    TRAINING,
    AsJson,
    DataFile,
    Maybe,
    Number,
    Several,
    Text,
    Whole,
    assignments,
    option,
    parsed,
)

_CLUSTER = "Workers beyond this machine's cores"


def plan(
    data: DataFile,
    workers: Annotated[str, option("Numbers of workers to compare.", panel=PARALLEL)] = "1,2,4,8,64",
    latency: Annotated[str, option("Time of a message, each way.", panel=_CLUSTER)] = "0s",
    bandwidth: Annotated[Number, option("Bytes a second to each worker; not given: endless.", panel=_CLUSTER)] = None,
    merge: Annotated[Text, option("Time of the driver for a report; not given: as here.", panel=_CLUSTER)] = None,
    passes: Annotated[int, option("Passes of the serial fit.", panel=TRAINING)] = 5,
    tolerance: Annotated[float, option("How near to its loss is near enough, as a part of it.")] = 0.01,
    seconds: Annotated[Text, option("Time for the plan itself; not given: 2s, or a tenth of a fit.")] = None,
    model: Annotated[str, option("sgd-classifier, sgd-regressor, mlp-classifier or mlp-regressor.")] = "sgd-classifier",
    hidden: Annotated[Text, option("Units of the hidden layers, 256,128: a network.", metavar="SIZES")] = None,
    target: Annotated[Text, option("Column to predict.", metavar="COLUMN")] = None,
    loss: Annotated[Text, option("hinge, log_loss, softmax, squared_error, huber, ...", panel=TRAINING)] = None,
    alpha: Annotated[Number, option("Strength of the penalty.", panel=TRAINING)] = None,
    learning_rate: Annotated[Text, option("optimal, constant, invscaling or adaptive.", panel=TRAINING)] = None,
    eta0: Annotated[Number, option("First learning rate.", panel=TRAINING)] = None,
    batch_size: Annotated[Whole, option("Rows a step; not given: 1, of networks 200.", panel=TRAINING)] = None,
    more: Annotated[Several, option("Another parameter, NAME=VALUE; repeatable.", "--set", panel=TRAINING)] = None,
    seed: Annotated[int, option("Of shuffling and splitting.", panel=TRAINING)] = 0,
    standardize: Annotated[Maybe, option("Mean 0, deviation 1; not given: dense data only.", panel=DATA)] = None,
    categorical: Annotated[Several, option("Take this column for categories; repeatable.", panel=DATA)] = None,
    drop: Annotated[Several, option("Leave this column out; repeatable.", panel=DATA)] = None,
    as_json: AsJson = False,
) -> None:
    """Say how many workers to take, with which algorithm, or that more will not help, and why.

    Serial SGD and short fits with each number of workers are rehearsed on the data, which takes about two seconds; what
    rows, rounds and merges cost on this machine is measured.  The table tells the predicted time until a fit by so many
    workers has the loss that serial SGD ends with, on rows kept apart.  Numbers of workers up to the machine's cores
    are threads; more are a cluster whose machines are each as fast as one core here.  Example:

    parsgd plan breast-cancer --loss log_loss --workers 1,2,8 --latency 0.5ms
    """
    from parsgd.cli import networks, planned, quantities, training
    from parsgd.cli.encoding import Choices
    from parsgd.cli.speaking import Voice, print_json

    given = {
        "loss": loss, "alpha": alpha, "learning_rate": learning_rate, "eta0": eta0, "batch_size": batch_size,
        "max_iter": passes,
    }  # fmt: skip
    parameters = {name: parsed(value) for name, value in given.items() if value is not None}
    if hidden is not None:
        parameters["hidden_layer_sizes"] = networks.layers(hidden)
    choices = Choices(tuple(categorical or ()), tuple(drop or ()), standardize)
    settings = {
        "n_workers": quantities.counts(workers, "--workers"),
        "latency_s": quantities.seconds(latency, "--latency"),
        "bandwidth_bytes_per_s": float("inf") if bandwidth is None else bandwidth,
        "merge_s": None if merge is None else quantities.seconds(merge, "--merge"),
        "tolerance": tolerance,
        "seconds": None if seconds is None else quantities.seconds(seconds, "--seconds"),
    }
    request = training.Request(
        data, None, model, target, parameters | assignments(more or ()), None, 0.0, seed, choices
    )
    report = planned.run(request, settings, Voice(quiet=as_json))
    if as_json:
        print_json(report)
