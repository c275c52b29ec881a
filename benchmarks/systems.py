"""Seconds an epoch of each system here and on another side, both in processes of their own that take turns.

    make bench
    python benchmarks/systems.py --data beauty --only SASRec-BCE,CL4SRec --rounds 5 --seconds 3

A block is some steps of one side; a round is a block of each. Where an epoch is longer than a block, its
seconds are the median step's times the steps of
an epoch, plus what an epoch begins with (K-means), which is run and timed whole. A row of each comparison is
added to `results.tsv`; `report.py` shows them.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import plain
import torch
from side import Side, add, serve, timed

import seqrec_nb  # noqa: F401  before torch: it sets how threads wait, for all sides
from seqrec_nb.batches import prefix_rows, user_rows
from seqrec_nb.data import at_hand, load
from seqrec_nb.evaluate import ranks
from seqrec_nb.methods.fenrec import FENRec, hard_contrast
from seqrec_nb.methods.genni import GenNi
from seqrec_nb.methods.intents import ICLREC_AUTHORS, ICLRec
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.methods.views import CL4SRec, DuoRec
from seqrec_nb.runs import code_version, device_name
from seqrec_nb.train import Training, fast_cpu

HERE = Path(__file__).resolve().parent
FIRST = 5120  # rows of the very first K-means, which starts anew and is not timed


# This side: a Side from a dataset


def here(method, rows=user_rows, epoch=1, **settings):
    def make(ds):
        t = Training(method(ds, **settings), rows(ds))
        o = t.objective.train()
        o.epoch = epoch

        def begin():
            with fast_cpu():
                o.on_epoch(epoch, t.rows)

        def steps():
            while True:
                for batch in t.rows.batches(t.batch_size, t.generator):
                    with fast_cpu():
                        t.step(o, o.prepare(batch, t.generator), t.opt)
                    yield

        if hasattr(o, "kmeans"):
            o.on_epoch(epoch, t.rows[torch.arange(min(len(t.rows), FIRST))])
        return Side(
            math.ceil(len(t.rows) / t.batch_size),
            int(t.rows.length.sum()),
            steps(),
            begin if hasattr(o, "kmeans") else None,
        )

    return make


def ranking(ds):
    model, test = SASRec(ds), user_rows(ds, "test")
    return Side(1, len(test), (ranks(model, test) for _ in iter(int, 1)))


def alone(loss):  # a contrastive loss without a model: two views of 256 rows, forward and backward
    def make(ds):
        g = torch.Generator().manual_seed(0)
        a, b = (
            torch.nn.functional.layer_norm(torch.randn(256, 64, generator=g), [64]).requires_grad_()
            for _ in range(2)
        )
        label, noise = torch.randint(ds.n_items, (256,), generator=g), torch.randn(512, 64, generator=g)

        def steps():
            while True:
                yield loss(a, b, label, noise).backward()

        return Side(1, 256, steps())

    return make


# The plain side


# rows: (sequences, n_items) -> Dataset; vector: (h, length) -> what K-means clusters
def beside(loss, rows, kmeans=None, vector=None, **settings):
    def make(ds):
        data, model = rows([s.tolist() for s in ds], ds.n_items), plain.Model(ds.n_items)

        def begin(batches=None):
            settings["centroids"] = kmeans.fit(plain.represent(model, data, vector, batches))

        if kmeans:
            begin(FIRST // 256)
        work = plain.steps(model, data, lambda *batch: loss(*batch, **settings))
        return Side(
            math.ceil(len(data) / 256), sum(n for _, n in plain.Inputs(data)), work, begin if kmeans else None
        )

    return make


# token 1: the mask token among the negatives
def users(views=False, negatives=True, token=0):
    return lambda s, n: plain.Users(s, n + token, negatives, views)


def prefixes(fenrec=False):
    return lambda s, n: plain.Prefixes(s, fenrec)


def plain_ranking(ds):
    model, sequences = plain.Model(ds.n_items), [s.tolist() for s in ds]
    return Side(1, len(sequences), (plain.top20(model, sequences, ds.n_items) for _ in iter(int, 1)))


def last(h, length):
    return h[:, -1]


AUTHORS = {k: v for k, v in ICLREC_AUTHORS.items() if k not in ("seen_score", "spare_held_out")}
SYSTEMS = {  # name: this side, the other, what the other is, the ratio asked for
    "SASRec-BCE": (here(SASRec, loss="bce"), beside(plain.sasrec_bce, users()), "plain", 12),
    "SASRec-CE": (here(SASRec), beside(plain.sasrec_ce, users(negatives=False)), "plain", 20),
    "CL4SRec": (here(CL4SRec), beside(plain.cl4srec, users(True)), "plain", 15),
    "DuoRec": (here(DuoRec, prefix_rows), beside(plain.duorec, prefixes()), "plain", 10),
    "ICLRec": (here(ICLRec), beside(plain.iclrec, users(True), plain.KMeans(), plain.mean), "plain", 12),
    "ICLRec authors": (
        here(ICLRec, **AUTHORS),
        beside(plain.iclrec_authors, users(True, token=1), plain.KMeans(redo=5), lambda h, n: h.mean(1)),
        "plain",
        2,
    ),
    "FENRec warm-up": (
        here(FENRec, prefix_rows),
        beside(plain.fenrec, prefixes(True), plain.KMeans(), last),
        "plain",
        8,
    ),
    "FENRec": (
        here(FENRec, prefix_rows, 21),
        beside(plain.fenrec, prefixes(True), plain.KMeans(), last, hard=True),
        "plain",
        8,
    ),
    "FENRec's loss": (alone(hard_contrast), alone(plain.hard_contrast), "plain", 10),
    "ranking": (ranking, plain_ranking, "plain", None),
    "SASRec-CE prefixes": (here(SASRec, prefix_rows), "train", "RecBole 1.2.1", 6),
    "ranking RecBole": (ranking, "rank", "RecBole 1.2.1", 3),
    "GenNi beta .1": (here(GenNi, beta=0.1), here(SASRec, loss="bce"), "SASRec-BCE here", 1 / 1.5),
    "GenNi beta 1": (here(GenNi), here(SASRec, loss="bce"), "SASRec-BCE here", 1 / 4),
}
# the others: an epoch
UNIT = {"ranking": "ranking", "ranking RecBole": "ranking", "FENRec's loss": "call"}


class Process:
    "A side at work elsewhere."

    def __init__(self, command, threads):
        env = os.environ | {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": os.environ["GOMP_SPINCOUNT"]}
        self.said = tempfile.TemporaryFile("w+")
        self.p = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=env,
        )
        self.about = self.answer()

    def answer(self):
        line = self.p.stdout.readline()
        if not line:
            self.said.seek(0)
            raise RuntimeError(f"{' '.join(self.p.args)} ended:\n{self.said.read()[-3000:]}")
        return json.loads(line)

    def ask(self, *words):
        print(*words, file=self.p.stdin, flush=True)
        return self.answer()

    def seconds(self, *words):
        return self.ask(*words)["seconds"]


def rate(n=2048):  # of products of float32 matrices, in FLOP a second, by the faster way that is as exact
    a, b = torch.randn(2, n, n)

    def best():
        return 2 * n**3 / min(timed(lambda: a @ b) for _ in range(8))

    plain = best()
    with fast_cpu():
        return max(plain, best())


def command(name, which, data, folder):
    side = SYSTEMS[name][which == "other"]
    if callable(side):
        return [sys.executable, __file__, "--side", which, "--only", name, "--data", data]
    (Path(folder) / "sequences.txt").write_text("\n".join(" ".join(map(str, s.tolist())) for s in load(data)))
    return [HERE / ".recbole/bin/python", HERE / "recbole_side.py", side, Path(folder) / "sequences.txt"]


def compare(name, data, threads, rounds, seconds, steps=None):  # a row of results
    with tempfile.TemporaryDirectory() as folder:
        sides = {which: Process(command(name, which, data, folder), threads) for which in ("here", "other")}
        for k in ("threads", "spin", "steps", "positions"):
            if len({s.about[k] for s in sides.values()}) > 1:
                raise RuntimeError(
                    f"{name}: the two sides differ in {k}: "
                    + ", ".join(f"{w} {s.about[k]}" for w, s in sides.items())
                )
        n, took, epoch = {}, {w: [] for w in sides}, sides["here"].about["steps"]
        for w, s in sides.items():
            s.seconds("step", 1)
            n[w] = steps or max(1, round(seconds / s.seconds("step", 1)))
        for r in range(rounds):
            for w, s in list(sides.items())[:: 1 if r % 2 else -1]:
                took[w].append(s.seconds("step", n[w]) / n[w])
        begins = {w: s.seconds("begin") if s.about["begins"] else 0.0 for w, s in sides.items()}
        ends = {w: s.ask("end") for w, s in sides.items()}
        for s in sides.values():
            s.p.wait()
    each = {w: [t * epoch + begins[w] for t in took[w]] for w in sides}
    ratios = [o / h for h, o in zip(each["here"], each["other"])]
    total = {w: median(t) for w, t in each.items()}
    return dict(
        system=name,
        against=SYSTEMS[name][2],
        data=data,
        unit=UNIT.get(name, "epoch"),
        seconds=total["here"],
        other_seconds=total["other"],
        ratio=total["other"] / total["here"],
        low=min(ratios),
        high=max(ratios),
        target=SYSTEMS[name][3],
        positions=sides["here"].about["positions"],
        begin=begins["here"],
        other_begin=begins["other"],
        memory=ends["here"]["memory"],
        other_memory=ends["other"]["memory"],
        before=sides["here"].about["before"],
        other_before=sides["other"].about["before"],
        gflop=ends["here"]["flops"] * epoch / 1e9,
        other_gflop=ends["other"]["flops"] * epoch / 1e9,
        setup=sides["here"].about["setup"],
        other_setup=sides["other"].about["setup"],
        steps=epoch,
        block=n["here"],
        other_block=n["other"],
        rounds=rounds,
        spin=sides["here"].about["spin"],
    )


def line(r):  # of the printed table
    share = [
        f"{r[g] / r[s] / r['gflops']:.0%}"
        for g, s in (("gflop", "seconds"), ("other_gflop", "other_seconds"))
    ]
    rounds, asked = f"({r['low']:.3g}-{r['high']:.3g})", f"{r['target']:.2g}" if r["target"] else "-"
    return (
        f"{r['system']:20}{r['seconds']:9.3g}{r['other_seconds']:9.3g} "
        f" {r['against']:17}{r['ratio']:7.3g}{rounds:>15}{asked:>7}"
        f"{r['positions'] / r['seconds']:13,.0f}{r['memory']:7.0f}"
        f"{r['other_memory']:7.0f}{share[0]:>9}{share[1]:>7}"
    )


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--data",
        help="a dataset that `load` knows; default: beauty where it can be had, else the built-in one",
    )
    p.add_argument("--only", default=",".join(SYSTEMS), help="some systems, such as SASRec-BCE,DuoRec")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=3.0, help="of a block")
    p.add_argument(
        "--steps", type=int, help="of a block, the same number on both sides, instead of --seconds"
    )
    p.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    p.add_argument("--out", type=Path, default=HERE / "results.tsv", help="where rows are added")
    p.add_argument("--side", help=argparse.SUPPRESS)
    a = p.parse_args()
    a.data = a.data or ("beauty" if "beauty" in at_hand() else "builtin")
    torch.manual_seed(0)
    if a.side:
        ds, make = load(a.data), SYSTEMS[a.only][a.side == "other"]
        return serve(lambda: make(ds))
    names = a.only.split(",")
    if unknown := [n for n in names if n not in SYSTEMS]:
        sys.exit(f"no system is called {unknown[0]}; there are: {', '.join(SYSTEMS)}")
    torch.set_num_threads(a.threads)
    about = dict(
        machine=device_name(),
        threads=a.threads,
        torch=torch.__version__,
        code=code_version(),
        gflops=rate() / 1e9,
        date=time.strftime("%Y-%m-%d %H:%M"),
    )
    print(
        f"{load(a.data)}\n{about['machine']}, torch {about['torch']}, code {about['code']}; matrix products"
        f" at {about['gflops']:.0f} GFLOP/s\nbatch 256, L 50, d 64, 2 layers, 2 heads, dropout .5\n"
    )
    print(
        f"{'':20}{'seconds':>9}{'other':>9} "
        f" {'the other':17}{'ratio':>7}{'(rounds)':>15}{'asked':>7}"
        f"{'positions/s':>13}{'MB':>7}{'other':>7}{'of rate':>9}{'other':>7}"
    )
    for name in names:
        if isinstance(SYSTEMS[name][1], str) and not (HERE / ".recbole").exists():
            print(f"{name:22} needs RecBole: benchmarks/recbole.sh makes its environment")
            continue
        r = compare(name, a.data, a.threads, a.rounds, a.seconds, a.steps) | about
        print(line(r), flush=True)
        add(a.out, r)


if __name__ == "__main__":
    main()
