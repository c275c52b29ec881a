"""The queue, killed at random moments, ends as if it had not been. `SEQREC_KILLS` says how often; 3 unless
told otherwise.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.runs import find_runs
from seqrec_nb.settings import experiment
from seqrec_nb.study.queue import work_on_ray, work_through

SMALL = dict(dim=16, layers=1, max_len=10, batch_size=512, epochs=12)
CODE = """
import sys
import threading
import test_queue
from seqrec_nb.study.queue import work_through
if __name__ == "__main__":
    work_through(test_queue.some(), jobs=2, folder=sys.argv[1])
"""


def some():
    base = experiment(SASRec, **SMALL)
    return [base, base.but(loss="bce"), base.but(seed=1)]


def test_killed_at_random(tmp_path):
    torch.set_num_threads(2)
    whole, cut, seed = tmp_path / "whole", tmp_path / "cut", random.randrange(10**6)
    rng, kills = random.Random(seed), int(os.environ.get("SEQREC_KILLS", 3))
    work_through(some(), jobs=2, folder=whole)
    script = tmp_path / "work.py"
    script.write_text(CODE)
    env = os.environ | {"PYTHONPATH": os.path.dirname(__file__), "OMP_NUM_THREADS": "2"}
    for _ in range(kills):
        p = subprocess.Popen([sys.executable, script, cut], env=env, stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(1, 12))
        p.send_signal(signal.SIGKILL)
        p.wait()
        time.sleep(1)  # what it had started ends, too
        assert not list(cut.glob("*.failed"))
    done = work_through(some(), jobs=2, folder=cut)
    assert list(done.state) == ["stored"] * 3
    pairs = zip(find_runs(whole), find_runs(cut), strict=True)
    for a, b in pairs:
        assert a.path.name == b.path.name and torch.equal(a.ranks, b.ranks), f"seed {seed}"
        assert list(a.history["valid"]) == list(b.history["valid"]), f"seed {seed}"
    assert not list(cut.glob("*.part")) and not list(cut.glob("*.checkpoint"))


def kill_one(stop):
    "As soon as a worker of Ray has begun a task, end it; once."
    import psutil  # which Ray brings

    while not stop.is_set():
        for p in psutil.process_iter(["cmdline"]):
            if any("ray::files_of_run" in part for part in p.info["cmdline"] or []):
                time.sleep(0.3)
                p.kill()
                return stop.killed.append(p.pid)
        time.sleep(0.05)


def test_on_ray_with_a_worker_killed(tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'seqrec_nb[ray]'")
    broken = some()[0].but(heads=5)
    wanted = [*some(), broken]
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    env = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": env})
    stop = threading.Event()
    stop.killed = []
    killer = threading.Thread(target=kill_one, args=(stop,), daemon=True)
    killer.start()
    try:
        done = work_on_ray(wanted, folder=tmp_path / "ray", tell=lambda text: None)
    finally:
        stop.set()
        killer.join()
        ray.shutdown()
    assert len(stop.killed) == 1
    assert list(done.state) == ["stored"] * 3 + ["failed"] and "heads=5" in done.why[3]
    torch.set_num_threads(1)
    alone = work_through(some(), folder=tmp_path / "alone", tell=lambda text: None)
    assert list(alone.name) == list(done.name[:3])
    for a, b in zip(find_runs(tmp_path / "ray"), find_runs(tmp_path / "alone"), strict=True):
        assert torch.equal(a.ranks, b.ranks) and a.path.with_suffix(".weights").exists()
