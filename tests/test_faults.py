"""What a machine does to a training: it is killed, its disk is full, its folder cannot be written, somebody
else writes there too. Nothing that was finished is lost, nothing that was begun is taken for whole, and the
same command goes on.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch

from seqrec_nb.runs import load_run
from seqrec_nb.train import load_tensors

SYSTEMS = ("SASRec", "GenNi", "S4Rec", "ICLRec")
JOB = """
import sys
from seqrec_nb.runs import run
from seqrec_nb.settings import all_methods, registered, experiment
from seqrec_nb.study.systems import systems
folder, name = sys.argv[1:]
e = systems("builtin")[name][0] if name != "SASRec" else systems("builtin")["SASRec, CE"][0]
small = dict(dim=16, layers=1, epochs=8, patience=8)
few = dict(n_clusters=8, warmup=1)
small |= {k: v for k, v in few.items() if e.has(k)}
run(e.but(**small), folder=folder, progress=False)
"""


def job(folder, name: str = "SASRec", **kw):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(folder), name], env=env, start_new_session=True, **kw
    )


def whole_run(folder):
    "The one run of a folder, and its weights; nothing half done lies beside them."
    (path,) = folder.glob("*.run")
    left = {p.suffix for p in folder.iterdir()} - {".run", ".weights", ".lock"}
    assert not left, left
    return load_run(path), load_tensors(path.with_suffix(".weights"))[0]


def same(a, b) -> bool:
    (run_a, weights_a), (run_b, weights_b) = a, b
    exactly = dict(rtol=0, atol=0, equal_nan=True)  # a value that is not known yet is no number
    equal = all(torch.allclose(weights_a[k], weights_b[k], **exactly) for k in weights_a)
    return equal and torch.equal(run_a.ranks, run_b.ranks) and run_a.path.name == run_b.path.name


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_killed_five_times(tmp_path, name):
    "Twenty kills over four systems: the weights end equal to the bit."
    assert job(tmp_path / "whole", name).wait(600) == 0
    rng = random.Random(name)
    for _ in range(5):
        p = job(tmp_path / "cut", name)
        time.sleep(rng.uniform(2, 12))
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
    assert job(tmp_path / "cut", name).wait(600) == 0
    assert same(whole_run(tmp_path / "whole"), whole_run(tmp_path / "cut"))


def no_more_than(size: int):  # bytes of a file; what lies beyond is refused, as on a full disk
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return limit


@pytest.mark.slow
@pytest.mark.parametrize("size", (10_000, 100_000, 300_000))
def test_no_space_left(tmp_path, size):
    "The job says so and stops. With space again, the same command ends as if nothing had been."
    assert job(tmp_path / "whole").wait(600) == 0
    p = job(tmp_path / "full", preexec_fn=no_more_than(size), stderr=subprocess.PIPE, text=True)
    _, said = p.communicate(timeout=600)
    assert p.returncode == 1 and "OSError" in said.splitlines()[-1] and "full" in said.splitlines()[-1], said
    for path in (tmp_path / "full").glob("*.run"):
        load_run(path)  # either whole or none
    assert job(tmp_path / "full").wait(600) == 0
    assert same(whole_run(tmp_path / "whole"), whole_run(tmp_path / "full"))


@pytest.mark.slow
def test_a_folder_that_cannot_be_written(tmp_path):
    p = job("/proc/runs", stderr=subprocess.PIPE, text=True)
    _, said = p.communicate(timeout=600)
    assert p.returncode == 1 and "Error" in said.splitlines()[-1] and "/proc/runs" in said.splitlines()[-1]


@pytest.mark.slow
def test_two_writers(tmp_path):
    "Two processes make the same run in one folder: it is there once, and whole."
    assert job(tmp_path / "whole").wait(600) == 0
    both = [job(tmp_path / "shared") for _ in range(2)]
    assert [p.wait(600) for p in both] == [0, 0]
    runs = sorted((tmp_path / "shared").glob("*.run"))
    found = [load_run(p).ranks for p in runs]
    expected, _ = whole_run(tmp_path / "whole")
    assert found and all(torch.equal(r, expected.ranks) for r in found)
