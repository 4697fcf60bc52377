"""Comparison of fits that must have the same bits."""

import warnings

import numpy as np

from parsgd.training.compiled import compiled_rounds


def fitted(estimator, rows, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(rows, y, **options)


def parameters(model):
    parts = [model.coef_, model.intercept_] if hasattr(model, "coef_") else [*model.coefs_, *model.intercepts_]
    return np.concatenate([np.ravel(part) for part in parts])


def assert_same(ours, reference):
    """Assert equal bits of the parameters, and equal histories but for times."""
    np.testing.assert_array_equal(parameters(ours), parameters(reference))
    assert (ours.n_iter_, ours.t_) == (reference.n_iter_, reference.t_)
    assert len(ours.history_) == len(reference.history_)
    for entry, other in zip(ours.history_, reference.history_, strict=True):
        for key in ("round", "epoch", "loss", "score"):
            assert entry[key] == other[key], key
        for worker, same in zip(entry["workers"], other["workers"], strict=True):
            for key in ("worker", "steps", "examples", "weight", "loss", "trace"):
                assert worker[key] == same[key], key


def count_compiled_calls(monkeypatch):
    """Return a list that grows with every call of compiled rounds."""
    found = []
    rounds = compiled_rounds.CompiledRounds
    run = rounds.run_together
    monkeypatch.setattr(rounds, "run_together", lambda self, group: (found.append(1), run(self, group))[1])
    return found
