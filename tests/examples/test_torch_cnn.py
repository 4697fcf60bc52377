"""The script that trains a PyTorch module, run as a user runs it: on the digits, and on a file like Fashion-MNIST's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import parsgd

pytest.importorskip("torch")
SCRIPT = Path(__file__).parents[2] / "examples" / "torch_cnn.py"
LONGEST = 60


def printed(*arguments, cwd):
    """What the script prints in a process of its own: validation losses, and the accuracy."""
    paths = [str(Path(parsgd.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"validation loss (\S+)", done.stdout)]
    return losses, float(re.search(r"test accuracy (\S+)", done.stdout)[1])


def test_it_is_short():
    assert sum(bool(line.strip()) for line in SCRIPT.read_text("utf-8").splitlines()) <= LONGEST


def test_it_learns_the_digits(tmp_path):
    losses, accuracy = printed(cwd=tmp_path)
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert accuracy > 0.9


@pytest.mark.slow
def test_it_reads_fashion_mnist(tmp_path):
    random = np.random.default_rng(0)
    parts = {}
    for part, n_rows in (("train", 600), ("test", 100)):
        classes = random.integers(0, 10, n_rows, dtype=np.uint8)
        images = random.integers(0, 50, (n_rows, 28, 28), dtype=np.uint8)
        images[np.arange(n_rows), 2 * classes] = 255  # a bright row of pixels for each class
        parts |= {f"X_{part}": images.reshape(n_rows, -1), f"y_{part}": classes}
    np.savez(tmp_path / "fashion_mnist.npz", **parts)
    losses, accuracy = printed(tmp_path, "--epochs", "3", cwd=tmp_path)
    assert len(losses) == 3
    assert accuracy > 0.5
