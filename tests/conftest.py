"""Tiers of tests, the same examples in every run, and checks that a test leaves nothing behind."""

import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import sklearn.utils.parallel  # noqa: F401  (importing it may set environment variables; tests may not)
from covers import outside_covers
from hypothesis import settings

import parsgd
from parsgd import registry
from parsgd.errors import MissingDependencyError

SOURCES = Path(__file__).parents[1] / "src"
settings.register_profile("first tier", derandomize=True, database=None, deadline=None, max_examples=10)
settings.register_profile("all", settings.get_profile("first tier"), max_examples=40)

# a background job of a shell ignores Ctrl-C or hang-ups, and so would the processes that tests start
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# what a user sees, and not what services for continuous integration do
os.environ.pop("CI", None)


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the slow tests too")


def pytest_configure(config):
    if os.environ.get("PARSGD_TEST_INSTALLED") and SOURCES in Path(parsgd.__file__).parents:
        raise pytest.UsageError(f"scripts/test tests the installed package, but parsgd was imported from {SOURCES}")
    settings.load_profile("all" if config.getoption("--all") else "first tier")


def pytest_collection_modifyitems(config, items):
    """Leave out the slow tests, unless all are asked for or one of them is named."""
    if config.getoption("--all") or any("::" in argument for argument in config.args):
        return
    for item in outside_covers([item for item in items if not item.get_closest_marker("slow")]):
        item.add_marker("slow")
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


def pytest_runtest_setup():
    """Seed what estimators draw from without a ``random_state``, so that every run sees the same numbers."""
    # scikit-learn draws from this generator, and from no other
    np.random.seed(int(os.environ.get("PARSGD_TEST_SEED", "0")))  # noqa: NPY002


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No thread of ours goes on, no environment variable changed, Ctrl-C means what it meant."""
    environment, handler = _environment(), signal.getsignal(signal.SIGINT)
    yield
    ours = [thread.name for thread in threading.enumerate() if thread.name.startswith("parsgd")]
    assert not ours, f"threads go on: {ours}"
    assert _environment() == environment, "environment variables were changed"
    assert signal.getsignal(signal.SIGINT) is handler, "the handler of SIGINT was not restored"


def _environment():
    # PyTorch sets one of these when it makes its first optimizer, and Ray another one when it is imported
    others = {"PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", "RAY_CLIENT_MODE"}
    return {name: value for name, value in os.environ.items() if name not in others}


def loaded(path):
    """A member of a registry; without the package that it needs, the test is skipped."""
    try:
        return registry.load(path)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def kept_engine():
    """Engines by name; those that start processes keep them, so that a thousand fits do not start two thousand."""
    with ExitStack() as stack:
        made = {}

        def engine(name):
            if name not in made:
                made[name] = loaded(registry.ENGINES[name])()
                if hasattr(made[name], "__enter__"):
                    stack.enter_context(made[name])
            return made[name]

        yield engine
