"The benchmarks run, and both sides of each comparison do the same work."

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent


def run(name, *args):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / name, *map(str, args)], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_both_sides_do_the_same_work():
    assert "ranks of 300 users" in run("equal.py")


@pytest.mark.slow
def test_a_comparison_becomes_a_page(tmp_path):
    run(
        "systems.py",
        "--data",
        "builtin",
        "--only",
        "SASRec-BCE,ICLRec",
        "--steps",
        1,
        "--rounds",
        1,
        "--out",
        tmp_path / "results.tsv",
    )
    run("grow.py", "--only", "ranking", "--most", 10_000, "--out", tmp_path / "grow.tsv")
    run("report.py", tmp_path)
    r = pd.read_csv(tmp_path / "results.tsv", sep="\t")
    assert (
        list(r.system) == ["SASRec-BCE", "ICLRec"]
        and (r.ratio > 1).all()
        and (r.positions == r.positions[0]).all()
    )
    assert all(
        s in (tmp_path / "BENCHMARKS.md").read_text()
        for s in ("| SASRec-BCE | plain |", "K-means", "As the work grows")
    )
