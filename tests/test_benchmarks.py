"The benchmarks run, and both sides of each comparison do the same work."

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from seqrec_nb.runs import find_runs
from seqrec_nb.study.queue import merge
from seqrec_nb.study.systems import first_trainings

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


ABSENT = "tqdm faiss nbdev execnb fastcore umap pooch seaborn ipywidgets plotly".split()


def test_the_half_hour_on_a_gpu_is_rehearsed(tmp_path):
    "On a CPU, with what that machine has and no more; cut, gone on with, packed, and merged."
    alone = tmp_path / "alone.py"
    alone.write_text(
        f"""import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        package, stand_in = name.split(".")[0], any(".stand_ins" in p for p in sys.path)
        if package in {ABSENT} and not (package == "tqdm" and stand_in):
            raise ModuleNotFoundError(f"no module named {{name}}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    )

    def rehearse(folder, *args):
        command = [ROOT / "benchmarks" / "gpu.py", "--device", "cpu", "--tiny", "--out", folder, *args]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, alone, *command], capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr[-3000:]
        lines = (folder / "gpu.jsonl").read_text().splitlines()
        return {r["key"]: r for r in map(json.loads, lines)}, len(lines)

    first, n = rehearse(tmp_path / "first", "--only", "systems/SASRec")
    assert first["systems/SASRec, BCE/recorded/fp32"]["epoch"] > 0
    (tmp_path / "first" / "seqrec-gpu.tar.gz").unlink()  # as if it had been cut off
    rows, lines = rehearse(tmp_path / "second", "--resume", tmp_path / "first")
    assert list(rows)[:n] == list(first) and lines == len(rows)  # nothing was done twice
    # a kernel of a card, and one of a library that is optional
    failed = {k for k, r in rows.items() if "error" in r}
    assert failed <= {k for k in rows if "variable length" in k or "liger" in k}, failed
    names = {k.split("/")[1] for k in rows if k.startswith("systems/")}
    assert set(first_trainings("builtin")) <= names
    told = merge(tmp_path / "second" / "seqrec-gpu.tar.gz", tmp_path / "runs")
    assert list(told["what happened"]) == ["taken"]
    assert find_runs(tmp_path / "runs")[0].path.stem == rows["trained/SASRec, BCE"]["run"]
