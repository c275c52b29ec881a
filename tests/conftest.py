import os
import sys
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch is imported
os.environ.setdefault("MPLBACKEND", "agg")
# the runs of whoever tests stay out of it, and the tests' out of theirs
os.environ["SEQREC_RUNS"] = tempfile.mkdtemp()
os.environ["SEQREC_STILL"] = "1"  # one test makes the playgrounds of the site move
os.chdir(Path(__file__).parent.parent)  # where nbdev looks for settings.ini


FIRST = "repository", "workers", "queue", "benchmarks", "oracles", "resume", "browser"


def pytest_collection_modifyitems(items):
    """A package that is out of step with its notebooks is said first: it explains the failures after it. Then
    come the long tests, so that none of them is left to one process at the end.
    """
    items.sort(key=lambda o: [o.path.name == f"test_{n}.py" for n in FIRST], reverse=True)


@pytest.fixture(autouse=True)
def restore():
    "Notebooks share this process: give back what nbdev and they change."
    env, path, cwd = dict(os.environ), list(sys.path), os.getcwd()
    yield
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = path
    os.chdir(cwd)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
