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


def test_what_never_gets_there_was_not_tried_or_may_take_twice_as_long_is_not_taken():
    for other in (
        replace(EIGHT, seconds=math.inf, passes=math.inf),
        replace(EIGHT, seconds=None, passes=None),
        replace(EIGHT, low=0.6, high=1.3),
    ):
        assert best([SERIAL, TWO, other]) is TWO
    # one worker reaches its own loss, at whatever time
    assert best([replace(SERIAL, low=1.0, high=9.0), replace(TWO, low=1.0, high=9.0)]).n_workers == 1


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
    assert said(SERIAL, never, unknown) == (
        "It is not known if more workers help: of the algorithms with a decided trial, none reaches serial SGD's loss"
        " within twice its 5 passes."
    )
    assert "no trial of them was decided" in said(SERIAL, unknown)
    assert "scatter by more than a factor of 2" in said(SERIAL, replace(TWO, low=1.0, high=9.0), unknown)
    assert "more workers did not reach the goal in the trials" in said(SERIAL, TWO, replace(EIGHT, seconds=math.inf))
    assert "the time of more workers is not known" in said(SERIAL, TWO, unknown)


def test_a_time_that_is_not_known_may_be_known_to_be_longer():
    wide = replace(TWO, seconds=20.0, low=9.0, high=40.0, passes=9.0)
    assert best([SERIAL, wide]) is SERIAL
    assert said(SERIAL, wide).startswith("More workers will not help: 2 (local) need 9 passes")


def test_a_start_that_takes_longer_than_the_passes_is_named():
    slow = replace(TWO, seconds=6.0, pass_s=0.5, round_s=0.0)
    assert (
        said(SERIAL, slow) == "More workers will not help: to start 2 (local) takes 3.5 s, and the passes take 2.5 s."
    )
