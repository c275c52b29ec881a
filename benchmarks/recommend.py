"""CPU seconds of one thread for recommendations to 100,000 users of a shop with 98,000 items.

python benchmarks/recommend.py [--users 100000]      (adds its rows to benchmarks/production.tsv)

Histories are of random items and the weights are random: the time does not depend on what they are.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from seqrec_nb.data import Dataset
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.production.recommend import best, recommend_users, rows_after_all
from seqrec_nb.runs import device_name

HERE = Path(__file__).resolve().parent


def shop(users: int = 130_000, items: int = 98_000) -> Dataset:
    "Random histories of 4 to 200 items, 15 in the mean."
    rng = np.random.default_rng(0)
    n = np.minimum(3 + rng.geometric(1 / 12, users), 200)
    taken = torch.from_numpy(rng.integers(1, items + 1, n.sum()))
    offsets = torch.from_numpy(np.concatenate([[0], n.cumsum()]))
    ids = np.array(["", *(f"SKU{i:06d}" for i in range(1, items + 1))], dtype=object)
    return Dataset("a large shop", taken, offsets, ids, np.arange(users))


def cpu_seconds(f) -> float:
    began = time.process_time()
    f()
    return time.process_time() - began


def plainly(model, rows, k: int = 10):
    "All scores, and topk."
    with torch.no_grad():
        for batch in rows.batches(256):
            model.score(batch).scatter(1, batch.rows.seen(), -torch.inf).topk(k)


def measure(users: int) -> pd.DataFrame:
    ds = shop()
    torch.manual_seed(0)
    model = SASRec(ds).eval()
    rows = rows_after_all(ds, torch.arange(users), 50)
    few = rows[torch.arange(0, users, max(1, users // 4096))]
    exact, rough = best(model, few)[0], best(model, few, precision="bf16")[0]
    same = (exact[:, :, None] == rough[:, None]).any(2).double().mean().item()
    ids = ds.user_ids[:users].tolist()
    times = {
        "all scores and topk": cpu_seconds(lambda: plainly(model, few)) / len(few) * users,
        "blocks, float32": cpu_seconds(lambda: recommend_users(model, ds, ids)),
        "blocks, chosen in bfloat16": cpu_seconds(lambda: recommend_users(model, ds, ids, precision="bf16")),
    }
    shares = {"all scores and topk": 1.0, "blocks, float32": 1.0, "blocks, chosen in bfloat16": same}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [
        {
            "page": "recommend",
            "what": what,
            "CPU s for 100,000 users": round(s / users * 100_000, 1),
            "users a second": round(users / s),
            "of the exact items": round(shares[what], 5),
            "machine": device_name(),
        }
        for what, s in times.items()
    ]
    print(f"memory at most: {memory:.0f} MB")
    return pd.DataFrame(rows)


def add(rows: pd.DataFrame, path: Path = HERE / "production.tsv"):
    "Add rows to the file of all measurements."
    before = [pd.read_csv(path, sep="\t")] if path.exists() else []
    pd.concat([*before, rows]).to_csv(path, sep="\t", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--keep", action="store_true", help="add the rows to production.tsv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(args.users)
    print(found.drop(columns=["page", "machine"]).to_string(index=False))
    if args.keep:
        add(found)
