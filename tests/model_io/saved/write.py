"""Writes one model file for each kind of estimator, and what it predicts: run once for every format of model files.

    python tests/model_io/saved/write.py tests/model_io/saved/format-2

``test_old_models.py`` reads what every version wrote.  Files of a version that was released are never written again.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.preprocessing import scale

import parsgd

SHORT = {"max_iter": 2, "tol": None, "random_state": 0, "n_jobs": 1}
LAYERS = {"hidden_layer_sizes": (5,), "max_iter": 2, "random_state": 0, "n_jobs": 1}


def models():
    """``(name, fitted estimator, rows)``."""
    (X, y), (C, c), (D, d) = (load(return_X_y=True) for load in (load_iris, load_breast_cancer, load_diabetes))
    X, C, D, d = scale(X), scale(C)[:, :8], scale(D), scale(d)
    texts = np.array(["setosa", "versicolour é", "日本"])[y]
    yield "classifier", parsgd.SGDClassifier(**SHORT).fit(C, c), C
    yield "classifier-softmax", parsgd.SGDClassifier("softmax", average=True, **SHORT).fit(X, texts), X
    two = {**SHORT, "n_jobs": 2, "algorithm": parsgd.LocalSGD(0.5, outer_optimizer="momentum"), "engine": "serial"}
    yield "classifier-local", parsgd.SGDClassifier("log_loss", **two).fit(np.float32(X), y), np.float32(X)
    sparse = parsgd.SGDClassifier(penalty="l1", alpha=0.05, **SHORT).fit(C, c).sparsify()
    yield "classifier-sparsified", sparse, C
    yield "regressor", parsgd.SGDRegressor(**SHORT).fit(D, d), D
    yield "regressor-poisson", parsgd.SGDRegressor("poisson", eta0=1e-3, **SHORT).fit(D, d + 3), D
    yield "one-class", parsgd.SGDOneClassSVM(nu=0.1, **SHORT).fit(X), X
    yield "network", parsgd.MLPClassifier(**LAYERS).fit(X, texts), X
    yield "network-two-classes", parsgd.MLPClassifier(activation="gelu", **LAYERS).fit(np.float32(C), c), np.float32(C)
    labels = np.eye(3, dtype=int)[y] | (X > 1)[:, :3]
    yield "network-labels", parsgd.MLPClassifier(early_stopping=True, solver="sgd", **LAYERS).fit(X, labels), X
    going_on = parsgd.MLPClassifier((5,), random_state=0, learning_rate="adaptive", solver="sgd")
    yield "network-going-on", going_on.partial_fit(X, y, classes=[0, 1, 2]), X
    yield "network-numbers", parsgd.MLPRegressor("huber", delta=0.5, **LAYERS).fit(D, np.column_stack([d, -d])), D
    yield "network-lbfgs", parsgd.MLPRegressor(solver="lbfgs", **LAYERS).fit(D, d), D


def main(folder: Path) -> None:
    """Write all of them, and ``expected.json`` beside them."""
    folder.mkdir(parents=True)
    expected = {}
    for name, model, X in models():
        rows = X[::20][:8]
        parsgd.save(model, folder / f"{name}.parsgd", made_by="write.py")
        expected[name] = {"rows": rows.tolist(), "predict": model.predict(rows).tolist(), "dtype": rows.dtype.name}
        for method in ("decision_function", "predict_proba"):
            if hasattr(model, method):
                expected[name][method] = getattr(model, method)(rows).tolist()
    lines = [f"{json.dumps(name)}: {json.dumps(said, ensure_ascii=False)}" for name, said in expected.items()]
    (folder / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # two passes are not convergence
    main(Path(sys.argv[1]))
