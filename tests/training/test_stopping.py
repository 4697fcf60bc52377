"""The stopping rule's own account of when it can decide."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parsgd.training.stopping import StoppingRule


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60), st.integers(1, 6))
def test_nothing_is_decided_before_the_least_number_of_epochs(objectives, patience):
    rule, lr_scale = StoppingRule(tol=0.1, patience=patience), np.ones(1)
    decisions, promises = [], []
    for epoch, objective in enumerate(objectives):
        promises.append(epoch + rule.least_epochs(lr_scale) - 1)
        if rule.update(np.array([objective]), np.zeros(1), lr_scale):
            decisions.append(epoch)
            break
    for epoch in decisions:
        assert all(promise <= epoch for promise in promises)


def test_a_score_may_decide_after_every_epoch_and_without_tol_nothing_does():
    assert StoppingRule(monitor=lambda state: np.zeros(1)).least_epochs(np.ones(1)) == 1
    assert StoppingRule(tol=None).least_epochs(np.ones(1)) > 10**9


def test_outputs_that_have_converged_decide_nothing():
    rule, lr_scale = StoppingRule(tol=0.1, patience=2), np.ones(2)
    for epoch in range(5):
        rule.update(np.array([1.0, -epoch]), np.zeros(1), lr_scale)
    assert lr_scale.tolist() == [0.0, 1.0]
    assert rule.least_epochs(lr_scale) == 2
