"""A table that the project has never seen goes from its file to a served model, by five lines of Python and
by the command line alone, and both answer alike.

`pytest -m slow -s tests/test_end_to_end.py` prints what it took.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqrec_nb.data import from_frame
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.production.artefact import load_artefact, save_artefact
from seqrec_nb.production.tables import read_table
from seqrec_nb.runs import run
from seqrec_nb.world import generate

ROOT = Path(__file__).parent.parent
FEW = dict(dim=32, layers=1, dropout=0.2, epochs=3, batch_size=256, lr=0.003)


def strange_table(path: Path, users: int = 22_500, seed: int = 4711) -> int:  # rows
    "About nine rows a user: ids are texts, tills stand in three zones, a hundredth of the lines came twice."
    ds = generate(users, 6_000, seed=seed).dataset
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(len(ds)), ds.lengths.numpy())
    when = pd.to_datetime(ds.times.numpy(), unit="s", utc=True)
    zone = user % 3
    moment = np.empty(len(user), dtype=object)
    for z, name in enumerate(("Europe/Berlin", "America/New_York", "UTC")):
        moment[zone == z] = [t.isoformat() for t in when[zone == z].tz_convert(name)]
    sold = {"till": zone, "customer": [f"K-{u:06d}/x" for u in user]}
    sold["article"] = [f"Ä{i:05d}" for i in ds.items.tolist()]
    df = pd.DataFrame(sold | {"sold at": moment})
    df = pd.concat([df, df.sample(frac=0.01, random_state=seed)])
    df.iloc[rng.permutation(len(df))].to_csv(path, index=False)
    return len(df)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def shell(tmp_path):
    "Commands in a folder of their own, with runs of their own, and how long each took."
    env = os.environ | {"SEQREC_RUNS": str(tmp_path / "runs of the shell"), "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    program = [sys.executable, "-c", "import sys; from seqrec_nb.demo import main; sys.exit(main())"]
    took = {}

    def call(*words) -> str:
        began = time.perf_counter()
        done = subprocess.run([*program, *words], cwd=tmp_path, env=env, capture_output=True, text=True)
        took[words[0]] = round(time.perf_counter() - began, 1)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    call.start = lambda *words: subprocess.Popen([*program, *words], cwd=tmp_path, env=env)
    call.took = took
    return call


def answer(url: str, body: dict | None = None, seconds: float = 60) -> dict:
    "What the service says, as soon as it is there."
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    end = time.monotonic() + seconds
    while True:
        try:
            return json.load(urllib.request.urlopen(request, timeout=10))
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@pytest.mark.slow
def test_a_strange_table_is_served(tmp_path, shell):
    pytest.importorskip("fastapi", reason="the service is an extra: pip install 'seqrec_nb[serve]'")
    rows = strange_table(tmp_path / "tills.csv")
    assert rows > 200_000

    # by Python
    began = time.perf_counter()
    table = read_table(tmp_path / "tills.csv", time="sold at")
    ds = from_frame(table, duplicates="drop", name="tills")
    trained = run(SASRec, ds, folder=tmp_path / "runs", progress=False, **FEW)
    save_artefact(trained, ds, tmp_path / "by_python.seqrec")
    model = load_artefact(tmp_path / "by_python.seqrec")
    by_python = time.perf_counter() - began

    # by the command line alone
    said = json.loads(
        shell(
            "data", "tills.csv", "--time", "sold at", "--duplicates", "drop", "--out", "tills.data", "--json"
        )
    )
    settings = [f"{k}={v}" for k, v in FEW.items()]
    there = json.loads(
        shell("train", "tills.data", "--artefact", "tills.seqrec", "--json", "--set", *settings)
    )
    assert said["out"] == "tills.data"
    figures = {k: there[k] for k in trained.metrics()}
    assert figures == pytest.approx(trained.metrics(), rel=1e-6)
    beside = json.loads(shell("evaluate", "tills.data", "--json"))
    assert len(beside) == 3
    history = ds.item_ids[ds[7][:6].numpy()].tolist()
    expected = model.recommend(history, k=10).reset_index(drop=True)
    typed = json.loads(shell("recommend", "tills.seqrec", "--history", ",".join(history), "--json"))
    assert [r["item"] for r in typed] == list(expected["item"])
    shell("export", "tills.seqrec", "tills.onnx")
    assert (tmp_path / "tills.onnx").stat().st_size > 6_000 * 32 * 4

    # served, it answers as the Python one does
    port = free_port()
    service = shell.start("serve", "tills.seqrec", "--port", str(port))
    try:
        url = f"http://127.0.0.1:{port}"
        assert answer(f"{url}/health")
        served = answer(f"{url}/recommend", {"histories": [history], "k": 10})
    finally:
        service.terminate()
        service.wait(30)
    items = [r["item"] for r in served["recommendations"][0]]
    scores = [r["score"] for r in served["recommendations"][0]]
    assert items == list(expected["item"])
    assert np.allclose(scores, expected["score"], rtol=1e-4, atol=1e-4)
    print(f"\n{rows:,} rows; by Python {by_python:.1f} s; by the shell {shell.took}")
