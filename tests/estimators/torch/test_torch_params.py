"""Parameters of the estimators around a PyTorch module, and what is refused before the training."""

import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import joblib  # noqa: E402
import pandas as pd  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.ensemble import VotingClassifier  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from parsgd.errors import InvalidArgumentError  # noqa: E402
from parsgd.torch import TorchClassifier, TorchRegressor  # noqa: E402

X, y = load_iris(return_X_y=True)
BOTH = pytest.mark.parametrize("kind", [TorchClassifier, TorchRegressor])


class Net(torch.nn.Module):
    """A network whose sizes are arguments, one of them optional."""

    def __init__(self, n_features, n_outputs, hidden=4):
        super().__init__()
        self.hidden = torch.nn.Linear(n_features, hidden)
        self.out = torch.nn.Linear(hidden, n_outputs)

    def forward(self, rows):
        return self.out(torch.tanh(self.hidden(rows)))


def quick(kind=TorchClassifier, module=Net, **params):
    """Make an estimator with one short fit on one thread."""
    return kind(module, **{"max_epochs": 2, "lr": 0.02, "random_state": 0, "n_threads": 1, **params})


def weights_of(model):
    return torch.cat([p.detach().reshape(-1) for p in model.module_.parameters()]).numpy()


# -- get_params, set_params and clone ----------------------------------------------------------------------------------


@BOTH
def test_parameters_of_components_survive_clone_and_set_params(kind):
    model = quick(kind, module__hidden=5, optimizer__weight_decay=0.1, loss=torch.nn.MSELoss, loss__reduction="mean")
    for copy in (clone(model), pickle.loads(pickle.dumps(model)), quick(kind).set_params(**model.get_params())):
        assert copy.get_params() == model.get_params()
    assert model.set_params(module__hidden=7, lr=0.5).get_params()["module__hidden"] == 7
    assert model.lr == 0.5
    assert "module__hidden=7" in repr(model)
    assert clone(model).get_params(deep=False) == model.get_params(deep=False)


def test_a_clone_has_its_own_copy_of_an_instance():
    module = Net(4, 3)
    model = quick(module=module)
    assert model.get_params()["module"] is module
    copy = clone(model)
    assert copy.module is not module
    assert torch.equal(copy.module.out.weight, module.out.weight)


def test_a_grid_search_chooses_arguments_of_the_module():
    grid = {"module__hidden": [1, 16], "optimizer__weight_decay": [0.0, 0.01]}
    search = GridSearchCV(quick(max_epochs=15, lr=0.03), grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_params_["module__hidden"] == 16
    assert search.best_estimator_.module_.hidden.out_features == 16
    pipeline = make_pipeline(StandardScaler(), quick()).set_params(torchclassifier__module__hidden=3).fit(X, y)
    assert pipeline[-1].module_.hidden.out_features == 3


@BOTH
def test_an_unknown_keyword_is_refused_by_the_constructor(kind):
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'batchsize'. Did you mean 'batch_size'\?"):
        kind(batchsize=3)
    with pytest.raises(ValueError, match="Invalid parameter 'hidden'"):
        kind().set_params(hidden=3)


def test_a_subclass_may_have_fewer_parameters():
    class Small(TorchClassifier):
        def __init__(self, lr=0.1, **components):
            super().__init__(Net, lr=lr, max_epochs=1, n_threads=1, **components)

    model = Small(lr=0.2, module__hidden=3).fit(X, y)
    assert model.get_params() == {"lr": 0.2, "module__hidden": 3}
    assert clone(model).fit(X, y).module_.hidden.out_features == 3


def test_tools_of_scikit_learn_accept_the_estimators(capsys):
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = quick(max_epochs=10, verbose=True)
    assert CalibratedClassifierCV(model, cv=2).fit(frame, y).predict_proba(frame).shape == (150, 3)
    assert cross_val_score(model, frame, y, cv=2, scoring="neg_log_loss").mean() > -1.2
    voting = VotingClassifier([("a", model), ("b", quick(module=None))], voting="soft").fit(X, y)
    assert voting.score(X, y) > 0.5
    assert list(model.fit(frame, y).feature_names_in_) == ["a", "b", "c", "d"]
    assert "module__hidden" in quick(module__hidden=5)._repr_html_()
    assert capsys.readouterr().out + capsys.readouterr().err


# -- modules -----------------------------------------------------------------------------------------------------------


def test_the_module_of_the_user_is_never_changed():
    module = Net(4, 3)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    model = quick(module=module, warm_start=True).fit(X, y).fit(X, y).partial_fit(X, y)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert module.training
    assert not model.module_.training
    assert not np.array_equal(weights_of(model), torch.cat([p.detach().reshape(-1) for p in module.parameters()]))


@pytest.mark.parametrize(
    "module",
    [
        Net,
        lambda n_features, n_outputs: Net(n_features, n_outputs),
        lambda n_outputs: torch.nn.LazyLinear(n_outputs),
        lambda **settings: Net(4, 3, **settings),
        None,
    ],
)
def test_a_class_or_function_gets_the_sizes_it_asks_for_and_its_seed(module):
    state = torch.get_rng_state()
    models = [quick(module=module, module__hidden=6) if module is Net else quick(module=module) for _ in range(2)]
    ours, again = (weights_of(model.fit(X, y)) for model in models)
    assert np.array_equal(ours, again)
    assert not np.array_equal(ours, weights_of(clone(models[0]).set_params(random_state=1).fit(X, y)))
    assert torch.equal(torch.get_rng_state(), state), "a fit changed the random state of PyTorch"


@pytest.mark.parametrize("seed", [7, None])
def test_a_generator_and_the_global_one_give_the_same_fit_from_the_same_state(seed):
    def fitted():
        np.random.seed(3)  # noqa: NPY002
        return weights_of(quick(random_state=seed and np.random.RandomState(seed)).fit(X, y))

    assert np.array_equal(fitted(), fitted())


def test_float64_rows_stay_so_for_a_module_of_float64():
    double = quick(module=Net(4, 3).double()).fit(X, y)
    assert double.predict_proba(X).dtype == np.float64
    single = quick().fit(X, y)
    assert single.predict_proba(X).dtype == np.float32
    half = quick(module=Net(4, 3).bfloat16()).fit(X, y, sample_weight=np.arange(150))
    assert half.module_.out.weight.dtype == torch.bfloat16
    assert half.predict_proba(X).dtype == np.float32
    # bytes of images are converted
    assert quick().fit((X * 10).astype(np.uint8), y).n_iter_ == 2


def test_rows_may_be_images_tensors_and_numbers_of_tokens():
    images = torch.from_numpy(X).reshape(-1, 1, 2, 2)
    conv = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 2), torch.nn.Flatten(), torch.nn.Linear(4, 3))
    assert quick(module=conv).fit(images, torch.from_numpy(y)).predict(images).shape == (150,)
    assert quick(module=None).fit(images, y).module_[1].in_features == 4
    tokens = np.arange(300).reshape(150, 2) % 11
    embedded = torch.nn.Sequential(torch.nn.Embedding(11, 4), torch.nn.Flatten(), torch.nn.Linear(8, 3))
    assert quick(module=embedded, input_type="int64").fit(tokens, y).predict(tokens).shape == (150,)


# -- what is stored ----------------------------------------------------------------------------------------------------


@BOTH
def test_a_fitted_estimator_survives_pickle_and_joblib(kind, tmp_path):
    model = quick(kind, module__hidden=5).fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    for copy in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        assert np.array_equal(copy.predict(X), model.predict(X))
        assert copy.history_ == model.history_
        assert copy.outcome_ is model.outcome_
        assert np.array_equal(weights_of(copy.partial_fit(X, y)), weights_of(clone_of(model).partial_fit(X, y)))


def clone_of(model):
    return pickle.loads(pickle.dumps(model))


def test_a_failed_fit_leaves_the_estimator_as_it_was():
    model = quick(warm_start=True).fit(X, y)
    before, state = dict(vars(model)), weights_of(model)

    def fail(trainer):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        model.set_params(on_epoch=fail).fit(X, y)
    assert {**vars(model), "on_epoch": None} == before
    assert np.array_equal(weights_of(model), state)


def test_a_fit_resumes_from_its_checkpoint(tmp_path):
    def interrupt(trainer):
        return trainer.n_epochs_ == 2

    whole = quick(max_epochs=4).fit(X, y)
    settings = dict(max_epochs=4, checkpoint=str(tmp_path / "folder"))
    quick(on_epoch=interrupt, **settings).fit(X, y)
    resumed = quick(**settings).fit(X, y, resume=True)
    assert resumed.resumed_from_ is not None
    assert np.array_equal(weights_of(resumed), weights_of(whole))


# -- refusals ----------------------------------------------------------------------------------------------------------

SGD, StepLR = torch.optim.SGD, torch.optim.lr_scheduler.StepLR
REFUSED = {
    r"'module' parameter .* must be a torch.nn.Module, a class .* Got 3": dict(module=3),
    r"must return a torch.nn.Module. It returned int": dict(module=lambda: 3),
    r"Linear, failed with the arguments \{\}: TypeError": dict(module=torch.nn.Linear),
    r"'module__hiden' .* Did you mean 'hidden'": dict(module__hiden=3),
    r"module__hidden .* need a class or function as module": dict(module=Net(4, 3), module__hidden=3),
    r"failed on the first rows, float32 \(16, 4\)": dict(module=torch.nn.Linear(5, 3)),
    r"must return a tensor of shape \(n_rows, n_outputs\)": dict(module=torch.nn.LSTM(4, 3)),
    r"'optimizer' parameter .* Got an instance of SGD": dict(optimizer=SGD([torch.zeros(1)], lr=0.1)),
    r"'optimizer__momentun' .* Did you mean 'momentum'": dict(optimizer=SGD, optimizer__momentun=0.9),
    r"'optimizer' parameter .* failed: ValueError: Nesterov": dict(optimizer=SGD, optimizer__nesterov=True),
    r"LBFGS needs closure": dict(optimizer=torch.optim.LBFGS),
    r"ReduceLROnPlateau needs metrics": dict(scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau),
    r"'scheduler' parameter .* must make an object with a method step. It made int": dict(scheduler=lambda made: 3),
    r"must make a torch.optim.Optimizer. It made int": dict(optimizer=lambda params: 3),
    r"'scheduler' parameter .* failed: TypeError: .*step_size": dict(scheduler=StepLR),
    r"scheduler__step_size .* need a scheduler": dict(scheduler__step_size=3),
    r"'loss' parameter .* Got 3": dict(loss=3),
    r"loss__reduction .* need a class": dict(loss=torch.nn.MSELoss(), loss__reduction="sum"),
    r"'lr' parameter .* Got -1": dict(lr=-1),
    r"'batch_size' parameter of Torch.* Got 0": dict(batch_size=0),
    r"'max_epochs' parameter": dict(max_epochs=1.5),
    r"'patience' parameter": dict(patience=None),
    r"'clip_norm' parameter": dict(clip_norm=0),
    r"'validation_fraction' parameter": dict(validation_fraction=1.0),
    r"'warm_start' parameter": dict(warm_start="yes"),
    r"'input_type' parameter": dict(input_type="float16"),
    r"whole numbers": dict(input_type="int64"),
    r"'autocast' parameter": dict(autocast="float8"),
    r"'random_state' parameter": dict(random_state=-1),
    r"'random_state' parameter .* where checkpoints are written": dict(checkpoint="unused", random_state=None),
    r"'device' parameter .* Got 'nowhere'": dict(device="nowhere"),
    r"'on_epoch' parameter": dict(on_epoch=3),
    r"200 workers and 150 examples": dict(n_workers=200),
}


@BOTH
@pytest.mark.parametrize("message", REFUSED)
def test_invalid_parameters_are_refused_with_their_name(kind, message):
    with pytest.raises(InvalidArgumentError, match=message):
        quick(kind, **REFUSED[message]).fit(X, y)


@BOTH
def test_invalid_data_are_refused(kind):
    model = quick(kind)
    with pytest.raises(InvalidArgumentError, match=r"Got TensorDataset instead, which parsgd.torch.Trainer reads"):
        model.fit(torch.utils.data.TensorDataset(torch.zeros(3)), y)
    with pytest.raises(InvalidArgumentError, match="too large for float32"):
        model.fit(X * 1e300, y)
    with pytest.raises(InvalidArgumentError, match="at least 0"):
        model.fit(X, y, sample_weight=-np.ones(150))
    with pytest.raises(InvalidArgumentError, match="zero everywhere"):
        model.fit(X, y, sample_weight=np.zeros(150))
    with pytest.raises(InvalidArgumentError, match="given together"):
        model.fit(X, y, X_val=X)
    with pytest.raises(InvalidArgumentError, match="checkpoint folder"):
        model.fit(X, y, resume=True)
    assert "module_" not in vars(model)


def test_a_function_without_a_value_per_row_is_refused_with_weights():
    loss = torch.nn.functional.cross_entropy
    quick(loss=loss).fit(X, y, sample_weight=np.arange(150))
    with pytest.raises(InvalidArgumentError, match="must return a value per example"):
        quick(loss=lambda output, target: loss(output, target)).fit(X, y, sample_weight=np.arange(150))
