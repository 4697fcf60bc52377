"""Kill fits that keep checkpoints, at random instants, and resume them; test_resume_after_kill.py runs it.

Prints what was seen as JSON.  It forks, so that a fit begins at once and not after seconds of imports.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from scipy import sparse

import parsgd
from parsgd.checkpointing.file_format import read
from parsgd.checkpointing.store import ENDING, CheckpointStore
from parsgd.utils.atomic_io import temporaries

# a round takes little, and writing 800 kB of weights takes most of the time, so that many kills hit a write
N_FEATURES = 100_000


def make(folder):
    settings = {"engine": "serial", "n_jobs": 2, "max_iter": 4, "tol": None, "random_state": 0}
    algorithm = parsgd.LocalSGD(sync_every=0.5, outer_optimizer="momentum")
    checkpoint = parsgd.Checkpoint(folder, seconds=0)
    return parsgd.SGDClassifier("log_loss", algorithm=algorithm, checkpoint=checkpoint, **settings)


def rows():
    rng = np.random.default_rng(0)
    X = sparse.random(60, N_FEATURES, 1e-4, format="csr", random_state=0)
    return X, rng.integers(0, 2, 60)


def start(folder, X, y):
    """A process that fits, or goes on with a fit, in the folder."""
    child = os.fork()
    if child == 0:
        try:
            make(folder).fit(X, y, resume=True)
        finally:
            os._exit(0)
    return child


def wait_for_a_write(folder, child):
    """Until there is a file that is not whole yet, or the fit has ended."""
    while not (folder.exists() and temporaries(folder, ENDING)):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.0005)


def main(base, times):
    dice = random.Random(0)
    X, y = rows()
    whole = make(base / "whole").fit(X, y)
    began = time.perf_counter()
    os.waitpid(start(base / "timed", X, y), 0)
    length = time.perf_counter() - began
    seen = {"half_written": 0, "begun": 0, "went_on": 0, "same": 0, "left": []}
    for number in range(times):
        path = base / str(number)
        child = start(path, X, y)
        time.sleep(dice.uniform(0.0, length))
        if number % 2:
            wait_for_a_write(path, child)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if path.exists():
            seen["half_written"] += bool(temporaries(path, ENDING))
            folder = CheckpointStore(path)
            # every one, not only the newest, is whole
            kept = [read(folder.file(known)) for known in folder.rounds()]
            seen["begun"] += bool(kept)
        again = make(path).fit(X, y, resume=True)
        seen["went_on"] += again.resumed_from_ is not None
        same = again.coef_.tobytes() == whole.coef_.tobytes() and again.t_ == whole.t_
        seen["same"] += same and len(again.history_) == len(whole.history_)
        seen["left"] += [name for name in os.listdir(path) if not name.endswith(ENDING) or name.startswith(".")]
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
