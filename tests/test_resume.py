"""A training that is killed at a random moment, without warning, and started again ends in the same weights,
to the bit.
"""

import os
import random
import signal
import subprocess
import sys
import time

import torch

from seqrec_nb.runs import load_run
from seqrec_nb.train import load_tensors

JOB = """
import sys
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.runs import run
run(SASRec, epochs=20, loss="bce", dropout=.3, dim=32, folder=sys.argv[1], progress=False)
"""


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(folder)],
        env={**os.environ, "SEQREC_DATA": ""},
        start_new_session=True,
    )


def finished(folder):
    return sorted(folder.glob("*.run"))


def test_killed_and_resumed(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole).wait(timeout=300) == 0
    seed = random.randrange(10**6)
    rng, kills = random.Random(seed), 0
    print(f"moments drawn with seed {seed}")
    while kills < 2:
        broken.mkdir(exist_ok=True)
        job, stamp = start(broken), time.time_ns()
        # an epoch of this start is done
        while job.poll() is None and not any(
            p.stat().st_mtime_ns > stamp for p in broken.glob("*.checkpoint")
        ):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        if job.poll() is not None:
            break  # it was quicker than we
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        kills += 1
        for p in finished(broken):
            load_run(p)  # either a whole run or none
    assert kills, "the job ended before it could be killed"
    assert start(broken).wait(timeout=300) == 0
    (a,), (b,) = finished(whole), finished(broken)
    assert a.name == b.name and torch.equal(load_run(a).ranks, load_run(b).ranks)
    wa, wb = (load_tensors(p.with_suffix(".weights"))[0] for p in (a, b))
    assert wa.keys() == wb.keys() and all(torch.equal(wa[k], wb[k]) for k in wa)
    ha, hb = load_run(a).history, load_run(b).history
    assert ha[["next_item", "valid"]].equals(hb[["next_item", "valid"]]) and len(ha) == 20
    assert not list(broken.glob("*.checkpoint"))
