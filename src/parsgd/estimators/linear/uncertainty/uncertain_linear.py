"""Standard errors, confidence intervals and prediction intervals of fitted linear estimators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import special
from sklearn.utils.validation import check_is_fitted

from parsgd.errors import InvalidArgumentError, check_flag, choose
from parsgd.estimators import streaming
from parsgd.estimators.fitted.attribute_checks import is_number, problems_of_array
from parsgd.estimators.fitted.transaction import forget, snapshot, transactional
from parsgd.estimators.kinds import dense
from parsgd.estimators.linear.uncertainty import refusals
from parsgd.estimators.linear.uncertainty.sandwich import Sandwich, sandwich
from parsgd.estimators.linear.uncertainty.score_sums import Block, ScoreSums, row_blocks, sum_scores
from parsgd.estimators.training_data import Examples, InMemoryData, StreamedData
from parsgd.estimators.validation.input_validation import validate_data
from parsgd.models.linear.linear_model import Linear
from parsgd.utils.floating import silent

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.estimators.validation.argument_types import MatrixLike

# Attributes that estimate_uncertainty sets, and a fit deletes.
UNCERTAINTY = ("coef_std_", "intercept_std_", "covariance_", "_degrees", "_residual_quantiles")
# Probabilities of the stored quantiles of residuals.
PROBABILITIES = np.linspace(0.0, 1.0, 1001)
# Newton steps of ``correct=True`` end at this length, in standard errors, or after this many.
_SMALL_STEP = 0.01
_MAX_STEPS = 5
# Values of the product of rows and covariance that are in memory at a time.
_PRODUCT_VALUES = 1 << 20


class UncertainLinear:
    """Mixin of linear estimators whose coefficients have standard errors."""

    @transactional
    @silent()
    def estimate_uncertainty(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        correct: bool = False,
    ) -> Self:
        """Estimate standard errors of the coefficients from the rows of the fit.

        For each output, with rows ``z = (x, 1)`` of weight s, the derivatives g and h of the loss in the decision
        value, n rows and p coefficients, the covariance is the sandwich

        ``V = n / (n - p) H^-1 M H^-1,   H = sum s h z z^T,   M = sum (s g)^2 z z^T``.

        It is valid for noise of any variance, and if the model is not true: intervals are about the coefficients with
        the least expected loss. They assume independent rows, which no test here can verify. Weights count as known
        constants, so a row of weight 2 is less information than two rows. One pass over the rows is made, in float64.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
            All rows of the fit and no others.
        y : array-like of shape (n_rows,)
            Omit with a Dataset, which has its own targets and weights.
        sample_weight : array-like of shape (n_rows,), optional
            The weights of the fit, >= 0.
        correct : bool, default=False
            First make Newton steps on the objective, at most 5, until they are below 0.01 standard errors. This
            **changes** ``coef_``, ``intercept_`` and the averages from which ``partial_fit`` continues. Every step
            needs a pass over the rows; from an averaged state one or two are typical.

        Returns
        -------
        self
            With the attributes ``coef_std_``, of the shape of ``coef_``, ``intercept_std_``, and ``covariance_`` of
            shape (n_features + 1, n_features + 1), for several classes (n_classes, n_features + 1, n_features + 1); the
            intercept is last. Model files store them. Every ``fit`` and ``partial_fit`` deletes them.

        Raises
        ------
        parsgd.errors.InvalidArgumentError
            If the intervals would not be valid, with the reason: the state is over 0.25 standard errors from the
            optimum without penalty (the fit has not converged, or the penalty is too large); the penalty has an l1
            part; the loss has no second derivative (hinge, perceptron, epsilon_insensitive, quantile, a user's) or
            joins the classes (softmax); columns are collinear; there are under 10 rows per coefficient, of a classifier
            in the rarer class; or the matrices need over 1 GiB.

        References
        ----------
        White, "A heteroskedasticity-consistent covariance matrix estimator and a direct test for heteroskedasticity",
        Econometrica 48(4), 1980. Chen, Lee, Tong, Zhang, "Statistical inference for model parameters in stochastic
        gradient descent", Annals of Statistics 48(1), 2020: the plug-in estimator.

        Examples
        --------
        >>> from parsgd import SGDRegressor
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.preprocessing import scale
        >>> X, y = load_diabetes(return_X_y=True)
        >>> X = scale(X)
        >>> model = SGDRegressor(penalty=None, average=True, random_state=0).fit(X, y)
        >>> model = model.estimate_uncertainty(X, y, correct=True)
        >>> low, high = model.coef_interval()[2]  # body mass index
        >>> bool(0 < low < model.coef_[2] < high)
        True
        """
        check_is_fitted(self)
        check_flag(correct, "correct", "estimate_uncertainty")
        self._check_arguments()
        who = type(self).__name__
        n_outputs = 1 if self.coef_.ndim == 1 else self.coef_.shape[0]
        refusals.check_supported(self, who)
        refusals.check_memory(self.n_features_in_, n_outputs, who)
        examples = self._examples(X, y, sample_weight, reset=False)
        model, encoder = self._model_and_encoder(examples)
        examples = examples.encode_targets(encoder)
        names = _names(self, examples)
        sums, found = self._sandwiches(model, examples, names, who)
        for _ in range(_MAX_STEPS if correct else 0):
            if max(each.relative(each.step).max() for each in found) <= _SMALL_STEP:
                break
            self._move(np.stack([each.step for each in found]))
            sums, found = self._sandwiches(model, examples, names, who)
        for each in found:
            refusals.check_distance(each, _l2(self), names, who)
        std = np.stack([each.std for each in found])
        covariance = np.stack([each.covariance for each in found])
        p = self.n_features_in_ + int(model.fit_intercept)
        vars(self).update(
            coef_std_=std[:, :-1].reshape(self.coef_.shape),
            intercept_std_=std[:, -1],
            covariance_=covariance[0] if n_outputs == 1 else covariance,
            _degrees=float(sums.used.min() - p),
        )
        forget(self, "_residual_quantiles")
        if sums.residuals.size:
            # a fit is closer to its own rows than to others, on average by this factor
            wider = sums.used[0] / (sums.used[0] - p)
            quantiles = np.quantile(sums.residuals, PROBABILITIES, weights=sums.weights, method="inverted_cdf")
            self._residual_quantiles = wider * quantiles
        return self

    def coef_interval(self, level: float = 0.95) -> np.ndarray:
        """Return confidence intervals of the coefficients, ``(*coef_.shape, 2)``: lower and upper ends.

        They are ``coef_ -+ t coef_std_`` with the quantile t of Student's distribution with n - p degrees of freedom.
        Each coefficient is covered with probability ``level``, not all together. Call :meth:`estimate_uncertainty`
        first.
        """
        half = _quantile(self, level, "coef_interval") * self.coef_std_
        coef = dense(self.coef_)
        return np.stack([coef - half, coef + half], axis=-1)

    def _move(self, steps: np.ndarray) -> None:
        """Add steps ``(n_outputs, n_features + 1)`` to the parameters; partial_fit continues from the result."""
        self.coef_ = (dense(self.coef_) + steps[:, :-1].reshape(self.coef_.shape)).astype(self.coef_.dtype)
        self.intercept_ = (self.intercept_ + steps[:, -1]).astype(self.intercept_.dtype)
        for name in ("standard", "average"):
            if f"_{name}_coef" in vars(self):
                vars(self)[f"_{name}_coef"] = self.coef_.reshape(steps[:, :-1].shape).copy()
                vars(self)[f"_{name}_intercept"] = self.intercept_.copy()

    def _sandwiches(
        self, model: Linear, examples: Examples, names: list[str], who: str
    ) -> tuple[ScoreSums, list[Sandwich]]:
        """Compute the sums at the current parameters, and the covariance of each output."""
        coef = dense(self.coef_).astype(np.float64).reshape(model.n_outputs, -1)
        intercept = np.broadcast_to(np.asarray(self.intercept_, dtype=np.float64), (model.n_outputs,))
        classes = hasattr(self, "classes_")
        sums = sum_scores(model, coef, intercept, _blocks(examples, who), classes=classes)
        refusals.check_rows(sums, coef.shape[1] + int(model.fit_intercept), who, classes)
        penalty = _l2(self)
        return sums, [sandwich(sums, k, penalty, coef[k], names, who) for k in range(model.n_outputs)]

    @streaming.blockwise
    def _decision_and_std(self, X: MatrixLike) -> np.ndarray:
        """Compute decision values and their standard errors, ``(n_rows, n_outputs, 2)``."""
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        decision = np.asarray(X @ dense(self.coef_).reshape(np.size(self.intercept_), -1).T) + self.intercept_
        covariance = self.covariance_.reshape(-1, *self.covariance_.shape[-2:])
        variance = np.empty(decision.shape)
        for part in _row_slices(X):
            x = X[part]
            for k, matrix in enumerate(covariance):
                # both products are (n_rows, n_features): x is sparse or dense
                product = np.asarray(x @ matrix[:-1, :-1])
                squares = x.multiply(product).sum(axis=1) if hasattr(x, "multiply") else (x * product).sum(axis=1)
                cross = np.asarray(x @ matrix[:-1, -1]).ravel()
                variance[part, k] = np.asarray(squares).ravel() + 2.0 * cross + matrix[-1, -1]
        return np.stack([decision, np.sqrt(np.maximum(variance, 0.0))], axis=-1)

    def _decision_interval(self, X: MatrixLike, t: float) -> np.ndarray:
        """Return ``decision -+ t standard errors``, ``(n_rows, n_outputs, 2)``."""
        found = self._decision_and_std(X)
        decision, half = found[..., 0], t * found[..., 1]
        return np.stack([decision - half, decision + half], axis=-1)


class UncertainRegressor(UncertainLinear):
    """Mixin of a linear regression with standard errors."""

    def predict_interval(self, X: MatrixLike, level: float = 0.95, kind: str = "mean") -> np.ndarray:
        """Return intervals of predictions, ``(n_rows, 2)``: lower and upper ends. Call ``estimate_uncertainty`` first.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), Dataset or path
        level : float in (0, 1), default=0.95
        kind : {"mean", "observation"}, default="mean"
            ``"mean"``: confidence interval of the prediction of the best linear model,
            ``x . w + b -+ t sqrt(z^T V z)``; for ``loss="poisson"`` its exponential. ``"observation"``: interval of a
            new target, the prediction plus quantiles of the residuals, times ``n / (n - p)``. It covers ``level`` of
            new rows on average, if they are like the rows of the fit. For a single row it is right if the noise has the
            same distribution everywhere. ``level`` is then at most 0.99.

        Examples
        --------
        >>> import numpy as np
        >>> from parsgd import SGDRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(500, 2))
        >>> y = X @ [1.0, -1.0] + rng.normal(size=500)
        >>> model = SGDRegressor(penalty=None, average=True, random_state=0).fit(X, y)
        >>> model = model.estimate_uncertainty(X, y, correct=True)
        >>> mean, observation = (model.predict_interval([[0.0, 0.0]], kind=kind) for kind in ("mean", "observation"))
        >>> float(np.ptp(mean)) < 0.3 < 3 < float(np.ptp(observation))
        True
        """
        self = snapshot(self)
        choose(kind, ("mean", "observation"), "kind", "predict_interval")
        t = _quantile(self, level, "predict_interval")
        if kind == "mean":
            return self._described_loss.predict(self._decision_interval(X, t)[:, 0])
        if self._described_loss.inverse_link is not None:
            raise InvalidArgumentError(
                f"kind='observation' adds residuals to predictions, which loss={self.loss!r} does not allow: its noise"
                " depends on the mean. Use kind='mean'."
            )
        if level > 0.99:
            raise InvalidArgumentError(
                f"kind='observation' needs a level of at most 0.99: it uses quantiles of residuals. Got {level}."
            )
        ends = np.interp([(1.0 - level) / 2.0, (1.0 + level) / 2.0], PROBABILITIES, self._residual_quantiles)
        return self.predict(X)[:, None] + ends


class UncertainClassifier(UncertainLinear):
    """Mixin of linear classifiers with standard errors."""

    def predict_interval(self, X: MatrixLike, level: float = 0.95, kind: str = "decision") -> np.ndarray:
        """Return confidence intervals of decision values or probabilities. Call ``estimate_uncertainty`` first.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), Dataset or path
        level : float in (0, 1), default=0.95
        kind : {"decision", "probability"}, default="decision"
            ``"decision"``: ``x . w + b -+ t sqrt(z^T V z)``. ``"probability"``, for two classes and
            ``loss="log_loss"``: the logistic function of these ends, an interval of the probability of the second
            class in the best logistic model.

        Returns
        -------
        interval : ndarray of shape (n_rows, 2), for more than two classes (n_rows, n_classes, 2)
            Lower and upper ends.

        Examples
        --------
        >>> from parsgd import SGDClassifier
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> X = scale(X[:, [1, 4]])
        >>> model = SGDClassifier("log_loss", penalty=None, average=True, learning_rate="constant", random_state=0)
        >>> model = model.fit(X, y).estimate_uncertainty(X, y, correct=True)
        >>> low, high = model.predict_interval(X[:1], kind="probability")[0]
        >>> bool(low < model.predict_proba(X[:1])[0, 1] < high)
        True
        """
        self = snapshot(self)
        choose(kind, ("decision", "probability"), "kind", "predict_interval")
        t = _quantile(self, level, "predict_interval")
        n_outputs = self.coef_.shape[0]
        if kind == "probability" and not (self._described_loss.name == "log_loss" and n_outputs == 1):
            raise InvalidArgumentError(
                "kind='probability' needs loss='log_loss' and two classes; the model has"
                f" loss={self.loss!r} and {len(self.classes_)} classes. Use kind='decision'."
            )
        interval = self._decision_interval(X, t)
        if kind == "probability":
            interval = special.expit(interval)
        return interval[:, 0] if n_outputs == 1 else interval


def _l2(estimator: Any) -> float:
    """Return alpha of the l2 penalty, 0 without one; an l1 part has been refused."""
    return 0.0 if estimator.penalty in (None, "l1") else float(estimator.alpha)


def _names(estimator: Any, examples: Examples) -> list[str]:
    """Return the names of the coefficients in messages."""
    if isinstance(examples, StreamedData):
        named = examples.dataset.feature_names
    else:
        named = getattr(estimator, "feature_names_in_", [f"column {j}" for j in range(examples.shape[1])])
    return [*map(str, named), "the intercept"]


def _blocks(examples: Examples, who: str) -> Iterable[Block]:
    """Yield rows with encoded targets and weights."""
    if isinstance(examples, InMemoryData):
        blocks: Iterable[Block] = row_blocks(examples.x, examples.target, examples.factor)
    else:
        blocks = (
            block
            for chunk in examples.dataset.blocks()
            for block in row_blocks(chunk.x, *examples.encoder(chunk.y, chunk.weight))
        )
    for x, y, weight in blocks:
        if (weight < 0).any():
            raise InvalidArgumentError(
                f"{who}: uncertainty needs sample weights >= 0; the smallest one is {weight.min():g}."
            )
        yield x, y, weight


def _quantile(estimator: Any, level: float, method: str) -> float:
    """Check the level and the estimator, and return the quantile of Student's distribution for a two-sided interval."""
    if not (isinstance(level, (int, float, np.floating)) and 0.0 < level < 1.0):
        raise InvalidArgumentError(f"level of {method} must be a number between 0 and 1. Got {level!r}.")
    if not hasattr(estimator, "covariance_"):
        raise InvalidArgumentError(
            f"{type(estimator).__name__}.{method} needs standard errors: call estimate_uncertainty(X, y) after the fit."
        )
    return float(special.stdtrit(estimator._degrees, (1.0 + level) / 2.0))


def problems_of_uncertainty(estimator: Any) -> Iterator[str]:
    """Yield inconsistencies of the attributes of :data:`UNCERTAINTY`, read from a model file."""
    found = {name: vars(estimator)[name] for name in UNCERTAINTY if name in vars(estimator)}
    if not found:
        return
    if missing := set(UNCERTAINTY[:-1]) - found.keys():
        yield f"{', '.join(sorted(missing))} are missing beside other standard errors"
    p, n_outputs = estimator.n_features_in_ + 1, np.size(estimator.intercept_)
    shapes = {
        "coef_std_": estimator.coef_.shape,
        "intercept_std_": (n_outputs,),
        "covariance_": (p, p) if n_outputs == 1 else (n_outputs, p, p),
        "_residual_quantiles": PROBABILITIES.shape,
    }
    for name, shape in shapes.items():
        if name in found:
            yield from problems_of_array(name, found[name], shape)
    if not is_number(found["_degrees"], 1):
        yield f"_degrees is {found['_degrees']!r}, not a number of degrees of freedom"


def _row_slices(X: Any) -> Iterable[slice]:
    size = max(1, _PRODUCT_VALUES // max(X.shape[1], 1))
    return (slice(start, start + size) for start in range(0, X.shape[0], size))
