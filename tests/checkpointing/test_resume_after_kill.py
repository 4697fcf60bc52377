"""Promise 7: a driver that is killed leaves a checkpoint that opens, and the fit goes on from it to the same bits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("times", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_a_fit_killed_at_any_instant_goes_on_to_the_same_bits(times, tmp_path):
    script = Path(__file__).with_name("kill_fits.py")
    done = subprocess.run([sys.executable, script, tmp_path, str(times)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["same"] == times
    assert seen["left"] == []
    # the kills came early and late, and while files were being written
    assert seen["went_on"] == seen["begun"] >= (25 if times == 50 else times / 4)
    assert seen["half_written"] >= times / 10
