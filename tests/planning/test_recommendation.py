"""Which cell is taken, and the sentence that says why."""

import math
from dataclasses import replace

from parsgd.planning.gradient_noise import GradientNoise
from parsgd.planning.recommendation import best, why
from parsgd.planning.trials.candidates import Candidate
from parsgd.training.cost_model import CostModel

SERIAL = Candidate(1, "serial", "serial", "auto", 5.0, 5.0, 1.0)
TWO = Candidate(2, "local", "threads", "local", 5.0, 2.5, 2.0, rounds=50, round_s=1e-4)
EIGHT = Candidate(8, "local", "simulated", "local", 5.0, 1.0, 5.0, rounds=50, round_s=1e-3)
NOISE, COSTS = GradientNoise(1.0, 5300.0), CostModel(1000, 1e-3, contention={2: 1.0}, wake_s={2: 1e-4})


def said(*cells, costs=COSTS):
    return why(cells, NOISE, costs)


def test_the_fastest_is_taken():
    assert best([SERIAL, TWO, EIGHT]) is EIGHT


def test_a_little_more_speed_is_not_worth_more_workers():
    assert best([SERIAL, TWO, replace(EIGHT, seconds=2.45)]) is TWO
    assert best([SERIAL, replace(TWO, seconds=4.9)]) is SERIAL
    assert said(SERIAL, TWO, replace(EIGHT, seconds=2.45)).endswith("more workers save less than 5%.")


def test_what_never_gets_there_was_not_tried_or_is_a_guess_is_not_taken():
    for other in (
        replace(EIGHT, seconds=math.inf, passes=math.inf),
        replace(EIGHT, seconds=None, passes=None),
        replace(EIGHT, basis="alike"),
    ):
        assert best([SERIAL, TWO, other]) is TWO


def test_it_says_what_is_gained_by():
    assert said(SERIAL, replace(EIGHT, passes=2.0)) == (
        "Take 8 workers with local: 2 passes take 1 s, where one worker needs 5 passes and 5 s, because averaging"
        " reduces the gradient noise (noise scale: 5,300 rows)."
    )
    assert "because they share the rows and need about the same number of passes" in said(SERIAL, EIGHT)
    assert "because they share the rows and need 1.6 times as many passes" in said(SERIAL, replace(EIGHT, passes=8.0))


def test_it_says_what_is_lost_by():
    talk = replace(EIGHT, seconds=9.0, rounds=8, round_s=1.0)
    assert said(SERIAL, talk) == (
        "More workers will not help: with 8 (local) a round costs 1 s, and a worker's part in it 125 ms."
    )
    assert said(SERIAL, replace(TWO, passes=9.5, seconds=4.95)) == (
        "More workers will not help: 2 (local) need 9.5 passes where one needs 5."
    )
    slow = CostModel(1000, 1e-3, contention={2: 1.9}, wake_s={2: 1e-4})
    assert said(SERIAL, replace(TWO, seconds=4.9), costs=slow) == (
        "More workers will not help: 2 threads share the memory and visit rows only 1.1 times as fast as one."
    )


def test_it_tells_not_getting_there_from_not_knowing():
    never, unknown = replace(TWO, seconds=math.inf), replace(EIGHT, seconds=None)
    assert "no algorithm reaches" in said(SERIAL, never)
    assert "of the algorithms with a trial, none reaches" in said(SERIAL, never, unknown)
    assert "more workers did not reach the goal in the trials" in said(SERIAL, TWO, unknown)
