"""How cost grows: seconds and memory against users, items, length of a row and size of a batch, on generated
interactions.

    python benchmarks/grow.py                     (all curves; about a quarter of an hour on two cores)
    python benchmarks/grow.py --only items --most 100000

Each point is measured in a process of its own. What is generated has the right sizes and nothing to learn.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from side import add, peak, timed

import seqrec_nb  # noqa: F401  before torch
from seqrec_nb.batches import user_rows
from seqrec_nb.data import Dataset
from seqrec_nb.evaluate import ranks
from seqrec_nb.methods.genni import ModelNegatives
from seqrec_nb.nn.encoders import Transformer
from seqrec_nb.nn.losses import bce, cross_entropy
from seqrec_nb.nn.samplers import UniformNegatives
from seqrec_nb.runs import code_version, device_name
from seqrec_nb.train import NextItem, Training, fast_cpu


def interactions(users, items, length, seed=0) -> Dataset:
    "Users with `length` interactions on average, five at least; few items take most of them."
    g = torch.Generator().manual_seed(seed)
    n = (
        5 + torch.empty(users).exponential_(1 / (length - 4.5), generator=g).long()
        if length > 5
        else torch.full((users,), length)
    )
    item = (torch.rand(int(n.sum()), generator=g) ** 2 * items).long().clamp_max(items - 1) + 1
    return Dataset(
        "generated", item, torch.cat([n.new_zeros(1), n.cumsum(0)]), np.arange(items + 1), np.arange(users)
    )


class Shared:
    "512 uniform negatives for all positions of a batch."

    def __init__(self, ds):
        self.n = ds.n_items

    def __call__(self, user, k, generator):
        return torch.randint(1, self.n + 1, (512,), generator=generator).expand(len(user), -1)


def sampled_softmax(h, table, target, negative):  # cross-entropy of the target against the shared negatives
    score = h @ F.embedding(negative[0], table).T
    score = score.masked_fill(negative[0] == target[:, None], float("-inf"))
    return F.cross_entropy(
        torch.cat([(h * F.embedding(target, table)).sum(1, keepdim=True), score], 1), torch.zeros_like(target)
    )


LOSSES = {  # objective from (encoder, items)
    "BCE": lambda e, n: NextItem(e, bce, UniformNegatives),
    "full softmax": lambda e, n: NextItem(e, cross_entropy),
    "sampled softmax, 512": lambda e, n: NextItem(e, sampled_softmax, Shared),
    "GenNi, 1,000 candidates": lambda e, n: NextItem(e, ModelNegatives(bce, beta=min(1.0, 1000 / n))),
}
BASE = dict(users=20_000, items=10_000, length=9, max_len=50, batch=256, loss="BCE")
CURVES = {  # what grows, and its points
    # to 10 million interactions
    "users": [dict(users=n, length=10) for n in (10_000, 100_000, 1_000_000)],
    "items": [dict(items=n, loss=loss) for loss in LOSSES for n in (10_000, 100_000, 1_000_000)],
    "length": [dict(length=n, max_len=n, users=5_000) for n in (25, 50, 100, 200)],
    "batch": [dict(batch=n) for n in (64, 256, 1024, 4096)],
    "ranking": [dict(items=n, users=2_000) for n in (10_000, 100_000, 1_000_000)],
}


def measure(curve, users, items, length, max_len, batch, loss, seconds):  # of one point
    torch.manual_seed(0)
    before = peak()
    ds = interactions(users, items, length)
    encoder = Transformer(items, max_len, 64, 2, 2, 0.5, 0.5)
    if curve == "ranking":
        model, test = NextItem(encoder), user_rows(ds, "test", max_len)
        ranks(model, test[torch.arange(200)])
        return dict(
            interactions=len(ds.items), epoch=timed(lambda: ranks(model, test)), memory=peak(), before=before
        )
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # the first one imports a good deal
    made = []
    setup = timed(
        lambda: made.append(Training(LOSSES[loss](encoder, items), user_rows(ds, max_len=max_len), batch))
    )
    t, took = made[0], []
    o = t.objective.train()
    for b in t.rows.batches(batch, t.generator):
        with fast_cpu():
            took.append(timed(lambda: t.step(o, o.prepare(b, t.generator), t.opt)))
        if len(took) > 2 and sum(took) > seconds:
            break
    step = float(np.median(took[1:]))
    return dict(
        interactions=len(ds.items),
        setup=setup,
        step=step,
        epoch=step * len(t.rows) / batch,
        memory=peak(),
        before=before,
    )


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default=",".join(CURVES), help="some curves")
    p.add_argument(
        "--most", type=int, default=10**9, help="leave out points with more users or items than this"
    )
    p.add_argument("--seconds", type=float, default=5.0, help="of steps at each point")
    p.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    p.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "grow.tsv", help="where rows are added"
    )
    p.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.point:
        return print(json.dumps(measure(**a.point)))
    if unknown := set(a.only.split(",")) - set(CURVES):
        sys.exit(f"no curve is called {unknown.pop()}; there are: {', '.join(CURVES)}")
    torch.set_num_threads(a.threads)
    about = dict(
        machine=device_name(),
        threads=a.threads,
        torch=torch.__version__,
        code=code_version(),
        date=time.strftime("%Y-%m-%d %H:%M"),
    )
    print(
        f"{about['machine']}, code {about['code']}\n\n{'':10}{'users':>10}{'items':>10}{'L':>5}{'batch':>6} "
        f" {'loss':25}{'ms a step':>10}{'s an epoch':>11}{'MB':>7}"
    )
    for curve in a.only.split(","):
        for point in CURVES[curve]:
            point = BASE | point
            if max(point["users"], point["items"]) > a.most:
                continue
            done = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--point",
                    json.dumps(point | dict(curve=curve, seconds=a.seconds)),
                ],
                env=os.environ | {"OMP_NUM_THREADS": str(a.threads)},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                sys.exit(f"{curve} {point} failed:\n{done.stderr[-3000:]}")
            r = (
                dict(curve=curve, **point)
                | dict(setup=None, step=None)
                | json.loads(done.stdout.splitlines()[-1])
                | about
            )
            if curve == "ranking":
                r["loss"] = "ranking"
            print(
                f"{curve:10}{r['users']:10,}{r['items']:10,}{r['max_len']:5}{r['batch']:6} "
                f" {r['loss']:25}"
                f"{r['step'] * 1000 if r['step'] else float('nan'):10.1f}{r['epoch']:11.2f}"
                f"{r['memory']:7.0f}",
                flush=True,
            )
            add(a.out, r)


if __name__ == "__main__":
    main()
