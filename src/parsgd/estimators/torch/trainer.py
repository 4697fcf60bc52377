"""Training of any PyTorch module on workers that need not be equal."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from parsgd.algorithms.minibatch import MiniBatch
from parsgd.checkpointing.settings import Checkpoint, settings_of
from parsgd.checkpointing.store import opened
from parsgd.checkpointing.writer import CheckpointWriter
from parsgd.core import Algorithm, Engine
from parsgd.errors import IncompatiblePartsError, InvalidArgumentError, Outcome, check_count
from parsgd.estimators.auto_select import Choice, choose_engine
from parsgd.estimators.torch.components.optimizer_trial import try_optimizer
from parsgd.estimators.torch.evaluation import mean_loss
from parsgd.estimators.torch.first_batch import check_first_batch, last_batches, output_shape
from parsgd.estimators.torch.torch_input import BatchPlan, TorchInput, read_input
from parsgd.estimators.torch.trainer_checks import check_parameters
from parsgd.models.torch import global_settings
from parsgd.models.torch.flat_layout import FlatLayout
from parsgd.models.torch.torch_model import TorchModel
from parsgd.registry import ALGORITHMS, resolve
from parsgd.training import loop
from parsgd.training.compatibility import refuse_unoffered
from parsgd.training.stopping import StoppingRule
from parsgd.utils.interrupts import interruptible
from parsgd.viz.live import display_mode

if TYPE_CHECKING:
    from parsgd.training.fit_result import Fit
    from parsgd.training.reporting.history import History

_CHECKPOINTED = ("batch_size", "accumulate", "clip_norm", "autocast", "optimizer_state", "scheduler_interval")
_CHECKPOINTED += ("shuffle", "drop_last", "n_threads", "patience")


class Trainer(BaseEstimator):
    """Train a PyTorch module with several workers.

    Each worker has a copy of the module and an optimizer of its own, and reads its own part of the data.  The algorithm
    says when the copies are merged, and how.

    Parameters
    ----------
    module : torch.nn.Module
        The module.  ``fit`` continues from its present parameters, and writes the trained ones back.  If it is in
        training mode, its parts keep their modes; otherwise ``train()`` is called.
    loss : callable or None
        The mean loss of a batch from ``(output, target)``, such as ``torch.nn.CrossEntropyLoss()``.  None: the module
        returns its loss, as a scalar, or as attribute or entry ``loss`` of its output.
    optimizer : callable
        Makes the optimizer from a list of parameters: ``lambda params: torch.optim.AdamW(params, lr=1e-3)``.
    algorithm : str or object
        ``LocalSGD``, ``DiLoCo``, ``MiniBatch`` (synchronous data parallel: gradients are averaged in every step),
        ``AsyncLocalSGD``, ... or a name.
    engine : str or object
        ``"auto"``: processes for several workers, this thread for one.  Also ``"serial"``, ``"threads"``, ``"dask"``,
        ``"ray"`` and :class:`~parsgd.Simulated`.
    n_workers : int or None
        Number of workers; None: as many as the engine can run at the same time.
    batch_size : int
        Examples per step of one worker.
    scheduler : callable or None
        Makes a learning-rate scheduler from an optimizer.  Each worker has one, and counts its own steps or epochs.
    scheduler_interval : {"epoch", "step"}
        When the scheduler advances.
    accumulate : int
        Batches whose gradients are averaged for one step.
    clip_norm : float or None
        Largest norm of the gradient of a step.
    autocast : {"bfloat16", "float16"} or None
        Type of ``torch.autocast`` for the forward pass.  float16 has no gradient scaling.
    device : str
        Device of all workers, such as ``"cuda"``.
    count_tokens : callable or None
        Returns the number of tokens in a batch.  ``LocalSGD(rule="tokens")`` weighs workers by their sum.
    optimizer_state : {"keep", "new"}
        ``"keep"``: a worker's optimizer continues from round to round.  ``"new"``: every round begins with a new one,
        and the schedule continues.  Moments are never averaged.
    shuffle, drop_last, collate_fn
        As those of ``torch.utils.data.DataLoader``.  A DataLoader passed to ``fit`` replaces them.
    patience : int or None
        End the fit after this many epochs without a smaller validation loss, and keep the best parameters.
    allow_unused : bool
        Accept trained parameters on which the loss of a batch does not depend.
    n_threads : int or None
        Threads of PyTorch within each worker.  None: 1, or with one worker PyTorch's present number.
    random_state : int
        Seed of the orders of rows, and of the generators of PyTorch, NumPy and Python on the workers.
    checkpoint : str, path, Checkpoint or None
        Folder for checkpoints, from which ``fit(..., resume=True)`` continues.
    on_epoch : callable or None
        Called with the trainer after every epoch, with its ``module`` up to date; returns True to stop.
    verbose : bool or int
        Show the progress.

    Attributes
    ----------
    module : torch.nn.Module
        The trained module, in evaluation mode.
    history_ : History
        One entry per round.  ``score`` is the negative validation loss.
    validation_losses_ : list of float
        Validation loss after every epoch; after a round that is longer than an epoch, one for its last epoch.
    outcome_ : Outcome
        How the fit ended.
    n_epochs_, n_iter_ : int
        Completed epochs.
    algorithm_, engine_ : Choice, str
        The algorithm with the number of workers, and the name of the engine.

    Notes
    -----
    The state that workers exchange holds all parameters that require a gradient, the floating-point buffers, and
    integer buffers with one element.  Running statistics of BatchNorm are averaged with the weights of the parameters.
    Other buffers are constants.

    With one worker the steps are those of a plain loop, bit for bit: rows in the order of
    ``torch.randperm(n, generator=torch.Generator().manual_seed(random_state + epoch))``, after
    ``torch.manual_seed(random_state)``.

    Examples
    --------
    >>> import torch
    >>> from parsgd import DiLoCo
    >>> from parsgd.torch import Trainer
    >>> X = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> y = (X.sum(1) > 0).long()
    >>> trainer = Trainer(
    ...     torch.nn.Linear(8, 2),
    ...     torch.nn.CrossEntropyLoss(),
    ...     optimizer=lambda params: torch.optim.AdamW(params, lr=0.05),
    ...     algorithm=DiLoCo(sync_every=4),
    ...     engine="serial",
    ...     n_workers=2,
    ... )
    >>> trainer = trainer.fit((X, y), validation=(X, y), epochs=4)
    >>> trainer.validation_losses_[-1] < 0.4
    True
    """

    def __init__(
        self,
        module: torch.nn.Module,
        loss: Callable[..., torch.Tensor] | None = None,
        *,
        optimizer: Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer],
        algorithm: str | Algorithm = "local",
        engine: str | Engine = "auto",
        n_workers: int | None = None,
        batch_size: int = 32,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
        scheduler_interval: str = "epoch",
        accumulate: int = 1,
        clip_norm: float | None = None,
        autocast: str | None = None,
        device: str = "cpu",
        count_tokens: Callable[[Any], int] | None = None,
        optimizer_state: str = "keep",
        shuffle: bool = True,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        patience: int | None = None,
        allow_unused: bool = False,
        n_threads: int | None = None,
        random_state: int = 0,
        checkpoint: str | Checkpoint | None = None,
        on_epoch: Callable[[Trainer], bool | None] | None = None,
        verbose: bool | int = False,
    ):
        self.module = module
        self.loss = loss
        self.optimizer = optimizer
        self.algorithm = algorithm
        self.engine = engine
        self.n_workers = n_workers
        self.batch_size = batch_size
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.autocast = autocast
        self.device = device
        self.count_tokens = count_tokens
        self.optimizer_state = optimizer_state
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.collate_fn = collate_fn
        self.patience = patience
        self.allow_unused = allow_unused
        self.n_threads = n_threads
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.on_epoch = on_epoch
        self.verbose = verbose
        check_parameters(self)

    @functools.partial(interruptible, returns=True)
    def fit(
        self,
        train: Any,
        validation: Any = None,
        *,
        epochs: int = 1,
        n_examples: int | None = None,
        resume: bool = False,
    ) -> Trainer:
        """Train the module.

        Parameters
        ----------
        train : Dataset, DataLoader, tuple of arrays or tensors, or parsgd Dataset
            Training examples.  Of a DataLoader, data set, batch size, order (random or sequential), ``drop_last`` and
            ``collate_fn`` are used.
        validation : of the same kinds, or None
            Examples for the validation loss after every epoch.
        epochs : int
            Passes of all workers together over the examples.
        n_examples : int or None
            Examples per epoch of an iterable data set without a length.
        resume : bool
            Continue from the last checkpoint of the same fit, to the same bits as without the interruption.

        Returns
        -------
        self

        Raises
        ------
        InvalidArgumentError
            For invalid arguments, and if the module fails on the first batch.  Raised before a worker starts.
        IncompatiblePartsError
            If algorithm, engine and module do not fit together, or the module cannot be sent to other processes.
        DivergedError
            If a parameter or the loss becomes NaN or infinite.
        """
        return self.run(train, validation, epochs, n_examples, resume)

    def run(
        self, train: Any, validation: Any, epochs: int, n_examples: int | None = None, resume: bool = False
    ) -> Trainer:
        """Train the module as :meth:`fit` does; after Ctrl-C it returns, and the caller decides what to raise."""
        check_parameters(self)
        check_count(epochs, "epochs", "Trainer.fit", optional=False)
        check_count(n_examples, "n_examples", "Trainer.fit")
        plan = BatchPlan(int(self.batch_size), bool(self.shuffle), bool(self.drop_last), self.collate_fn)
        data = read_input(train, plan, "train", n_examples, counted=True)
        held_out = None if validation is None else read_input(validation, plan, "validation")
        engine, n_workers = self._choose_workers(data)
        model = self._model(data, n_workers)
        algorithm = self._choose_algorithm(model, n_workers)
        source = data.source(n_workers, max(1e3, float(model.layout.n_parameters)))
        if "averaging" in algorithm.traits.requires:
            model = replace(model, output_shape=output_shape(model, source))
        refuse_unoffered(model, algorithm, engine)
        self.algorithm_: Choice = Choice(algorithm.name, "given", algorithm, n_workers)
        self.engine_: str = engine.name
        described = try_optimizer(self.optimizer, self.scheduler, model.module, "Trainer")
        draws = check_first_batch(model, source, bool(self.allow_unused), last_batches(data, algorithm, n_workers))
        if draws and engine.name == "threads" and n_workers > 1:
            raise IncompatiblePartsError(
                "The module draws random numbers, as dropout does, and engine='threads' has one generator for all"
                " workers. Use engine='processes' or engine='serial'."
            )
        monitor = None if held_out is None else self._monitor(model, held_out)
        stopping = StoppingRule(
            tol=None if self.patience is None else 0.0,
            patience=self.patience or 1,
            monitor=monitor,
            keeps_best=self.patience is not None,
        )
        kept = global_settings.preserved(torch.device(model.device))
        with self._checkpointer(resume, described) as writer, display_mode.shown(self.verbose), kept:
            fit = loop.fit(
                model,
                algorithm,
                engine,
                source,
                n_workers=n_workers,
                seed=int(self.random_state),
                max_epochs=int(epochs),
                stopping=stopping,
                checkpointer=writer,
                epoch_callback=None if self.on_epoch is None else self._epoch_callback(model),
            )
        self._finish(model, fit)
        return self

    def validation_loss(self, data: Any) -> float:
        """Return the mean loss of the module on data of the kinds that ``fit`` accepts, in evaluation mode."""
        plan = BatchPlan(int(self.batch_size), False, False, self.collate_fn)
        return mean_loss(self.module, self.loss, read_input(data, plan, "data"), torch.device(self.device))

    # -- parts of a fit ------------------------------------------------------------------------------------------------

    def _choose_workers(self, data: TorchInput) -> tuple[Engine, int]:
        """Return the engine and the number of workers."""
        name = self.engine
        if isinstance(name, str) and name == "auto":
            name = "serial" if self.n_workers == 1 else "processes"
        engine = choose_engine(name, self.n_workers or 2, "Trainer")
        if engine.n_workers is not None and self.n_workers not in (None, engine.n_workers):
            raise InvalidArgumentError(
                f"The 'n_workers' parameter of Trainer must be None or {engine.n_workers}, the worker count of"
                f" engine={engine.name!r}. Got {self.n_workers!r} instead."
            )
        n_workers = self.n_workers or engine.n_workers or engine.default_workers()
        if n_workers > data.n_rows:
            raise InvalidArgumentError(
                f"There are {n_workers} workers and {data.n_rows} examples. Use at most one worker per example."
            )
        return engine, int(n_workers)

    def _choose_algorithm(self, model: TorchModel, n_workers: int) -> Algorithm:
        methods = ("traits", "run", "quorum", "merge")
        algorithm = resolve(ALGORITHMS, self.algorithm, "algorithm", "Trainer", methods)
        given = not isinstance(algorithm, MiniBatch) or algorithm.batch_size is not None
        return algorithm if given else replace(algorithm, batch_size=model.batch_size * n_workers)

    def _model(self, data: TorchInput, n_workers: int) -> TorchModel:
        size = data.plan.batch_size
        n_threads = self.n_threads or (torch.get_num_threads() if n_workers == 1 else 1)
        return TorchModel(
            training_copy(self.module.to(self.device)),
            self.loss.to(self.device) if isinstance(self.loss, torch.nn.Module) else self.loss,
            self.optimizer,
            FlatLayout.of(self.module),
            batch_size=size * int(self.accumulate),
            micro_batch_size=size,
            scheduler=self.scheduler,
            scheduler_interval=self.scheduler_interval,
            clip_norm=None if self.clip_norm is None else float(self.clip_norm),
            autocast=self.autocast,
            device=str(self.device),
            n_threads=int(n_threads),
            count_tokens=self.count_tokens,
            keeps_optimizer=self.optimizer_state == "keep",
        )

    def _monitor(self, model: TorchModel, data: TorchInput) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function that scores a state: the negative validation loss."""

        # one-shot fits send the function to the workers, which need nothing else of the trainer
        module = self.module

        def score(state: np.ndarray) -> np.ndarray:
            model.layout.write(state, module)
            return np.array([-mean_loss(module, model.loss, data, torch.device(model.device))])

        return score

    def _epoch_callback(self, model: TorchModel) -> Callable[[Fit], bool]:
        def call(fit: Fit) -> bool:
            self._finish(model, fit)
            assert self.on_epoch is not None
            return bool(self.on_epoch(self))

        return call

    def _finish(self, model: TorchModel, fit: Fit) -> None:
        """Write the trained parameters into the module, and set the attributes."""
        model.layout.write(fit.state, self.module)
        self.module.eval()
        self.history_: History = fit.history
        self.outcome_: Outcome | None = fit.outcome
        self.n_epochs_: int = fit.n_epochs
        self.n_iter_: int = fit.n_epochs
        scores = [entry["score"] for entry in fit.history if entry.get("score") is not None]
        self.validation_losses_: list[float] = [-score for score in scores]

    @contextlib.contextmanager
    def _checkpointer(self, resume: bool, described: dict[str, Any]) -> Generator[CheckpointWriter | None]:
        settings = settings_of(self.checkpoint, "Trainer")
        if settings is None and resume:
            raise InvalidArgumentError(
                "Trainer.fit(resume=True) needs a checkpoint folder. Construct the Trainer with checkpoint='folder'."
            )
        if settings is None:
            yield None
            return
        with opened(settings.path) as folder:
            writer = CheckpointWriter(folder, settings, bool(resume))
            writer.params = {name: getattr(self, name) for name in _CHECKPOINTED} | described
            self.resumed_from_ = None if writer.found is None else writer.found.snapshot.round
            yield writer


def training_copy(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in training mode; the parts of a module that is in this mode already keep theirs."""
    copied = copy.deepcopy(module)
    return copied if copied.training else copied.train()
