"""Write BENCHMARKS.md from the stored rows.

python benchmarks/report.py             (from the rows beside this file)
python benchmarks/report.py FOLDER      (from those of another folder, and to there)
python benchmarks/report.py --gpu OUT   (with the rows of benchmarks/gpu.py in that folder)
"""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent

INTRO = """# Benchmarks

<!-- Written by benchmarks/report.py from benchmarks/*.tsv: change those. -->

`make bench` measures on this machine and writes this page anew; nothing here is typed. Each figure is the
latest row for its dataset, machine and number of threads.
"""

HOW = """## How it is measured

- **The same work on both sides.** Same rows, batch of 256, model (L 50, d 64, 2 layers, 2 heads, dropout .5),
  negatives, views, loss and steps. `benchmarks/equal.py` proves it before any time is taken: on one batch,
  with equal weights and dropout off, the losses agree to 1e-6 and in float64 to 1e-12, the gradients in
  float64 to 1e-11. In float32 gradients agree to 1e-5 or, where a contrast of long vectors rounds more, to
  ten times what the plain side itself is away from its float64 result. It also compares packed rows with
  padded ones (1e-6, gradients 1e-5), the share that dropout keeps in every column, and ranks with those of
  sorting all scores.
- **Plain** is `benchmarks/plain.py`: a DataLoader that builds one padded row at a time in Python with its
  negatives and views, torch's `TransformerEncoderLayer` over 50 slots, losses over the padded rectangle,
  FENRec's mixed negatives as a [2B,2B,D] tensor, K-means with faiss, unfused Adam.
- **RecBole** is release 1.2.1 with its own data, model and evaluation, anomaly detection off, in an
  environment of its own (`benchmarks/recbole.sh`); its NumPy, pandas and SciPy are those it was written for,
  its torch is ours.
- **Turns.** Each side is a process of its own with the same number of threads and the same `GOMP_SPINCOUNT`.
  They take turns in blocks of some seconds, the order alternating. Seconds an epoch are the median block's
  seconds a step times the steps of an epoch, so for long epochs they are extrapolated, plus what an epoch
  begins with, which is run and timed whole: K-means with its pass over all rows. The range beside a ratio is
  that of its rounds.
- **Positions** are the real ones of an epoch's training rows, padding not counted, for the ranking users, for
  the loss alone rows.
- **Memory** is the largest resident size of the process, in MB; about {before} of it are Python, torch and
  the other libraries before any data is read.
- **Share of the rate**: floating-point operations of the matrix products that a side does (padding included
  where it computes padding), by time, relative to what a product of two 2048 x 2048 matrices in float32
  reaches here. A plain side can show a high share and be slow: it multiplies padding.
- On this side products of float32 matrices go through oneDNN's fast path where a test on this machine finds
  it as exact as float32 (`fast_cpu`); the plain side and RecBole use torch as it comes.
"""


def latest(path, by):  # the last row of each kind
    return pd.read_csv(path, sep="\t").drop_duplicates(by, keep="last") if path.exists() else None


def markdown(head, rows):
    def line(cells):
        return "| " + " | ".join(map(str, cells)) + " |"

    return "\n".join([line(head), line(["---"] + ["---:"] * (len(head) - 1)), *map(line, rows)]) + "\n"


def n(x, digits=3):
    return f"{float(f'{x:.{digits}g}'):,.10g}"


def where(r):
    return f"{r.machine}, torch {r.torch}, {r.date}, code {r.code}"


def comparisons(t):
    for (data, _machine, _threads), g in t.groupby(["data", "machine", "threads"], sort=False):
        a = g.iloc[-1]
        yield f"## Training and ranking: {data}\n\n{where(a)}. Matrix products: {n(a.gflops)} GFLOP/s.\n"
        rest, cost = g[~g.system.str.startswith("GenNi")], g[g.system.str.startswith("GenNi")]

        # asked of Beauty on two cores
        def met(r):
            return (
                ""
                if data != "beauty" or pd.isna(r.target)
                else f"{n(r.target)}x " + ("reached" if r.ratio >= r.target else "**missed**")
            )

        yield markdown(
            [
                "system",
                "beside",
                "seconds",
                "theirs",
                "ratio",
                "of the rounds",
                "asked",
                "positions/s",
                "MB",
                "theirs",
                "of the rate",
                "theirs",
            ],
            [
                [
                    r.system,
                    r.against,
                    n(r.seconds),
                    n(r.other_seconds),
                    f"**{n(r.ratio)}**",
                    f"{n(r.low)} to {n(r.high)}",
                    met(r),
                    n(r.positions / r.seconds),
                    n(r.memory, 4),
                    n(r.other_memory, 4),
                    f"{r.gflop / r.seconds / r.gflops:.0%}",
                    f"{r.other_gflop / r.other_seconds / r.gflops:.0%}",
                ]
                for r in rest.itertuples()
            ],
        )
        yield (
            "Seconds are those of an epoch; of one ranking of all users by all items; of one call, forward"
            " and backward, for FENRec's loss alone.\n"
        )
        if (ce := rest[rest.system == "SASRec-CE"]).size:
            yield (
                "Beside what Python and the libraries take, SASRec-CE over all positions needs"
                f" {((ce.memory - ce.before) / (ce.other_memory - ce.other_before)).item():.2f} of the plain"
                " side's memory; asked: .25.\n"
            )
        if len(cost):
            yield "What negatives proposed by the model cost, beside uniform ones, both in this library:\n"
            yield markdown(
                ["system", "seconds", "SASRec-BCE", "times as long", "asked: at most"],
                [
                    [
                        r.system,
                        n(r.seconds),
                        n(r.other_seconds),
                        f"**{n(r.seconds / r.other_seconds)}**",
                        (
                            n(1 / r.target) + (" reached" if r.ratio >= r.target else " **missed**")
                            if data == "beauty"
                            else ""
                        ),
                    ]
                    for r in cost.itertuples()
                ],
            )
        if (k := rest[rest.begin > 0]).size:
            yield "Of these seconds, K-means and its pass over all rows take:\n"
            yield markdown(
                ["system", "here", "theirs"],
                [[r.system, n(r.begin), n(r.other_begin)] for r in k.itertuples()],
            )


def qualities(t):
    yield (
        "## Seconds to a figure\n\nTrained, and validated every third epoch; the best of these by validation"
        " NDCG@10, ranked once on the test set, seen items left out.\n"
    )
    for (data, _machine, _threads), g in t.groupby(["data", "machine", "threads"], sort=False):
        yield f"{data}; {where(g.iloc[-1])}.\n"
        asked = data == "beauty"
        yield markdown(
            ["system", "seed", "epochs", "best", "training, s", "with validation, s", "HR@10", "NDCG@10"]
            + ["asked"] * asked,
            [
                [
                    r.system,
                    r.seed,
                    r.epochs,
                    r.best,
                    n(r.training),
                    n(r.seconds),
                    f"{r.hr:.4f}",
                    f"{r.ndcg:.4f}",
                ]
                + [
                    f"{r.asked_hr}/{r.asked_ndcg} in {r.asked_seconds} s "
                    + (
                        "reached"
                        if r.hr >= r.asked_hr and r.ndcg >= r.asked_ndcg and r.seconds <= r.asked_seconds
                        else "**missed**"
                    )
                ]
                * asked
                for r in g.itertuples()
            ],
        )


def growth(t):
    yield (
        "## As the work grows\n\nGenerated interactions (`benchmarks/grow.py`), each point in a process of"
        " its own; 256 rows a step unless the batch is what grows.\n"
    )
    heads = {
        "users": ["interactions", "users"],
        "items": ["loss", "items"],
        "length": ["L"],
        "batch": ["batch"],
        "ranking": ["items"],
    }
    for (_machine, _threads), part in t.groupby(["machine", "threads"], sort=False):
        yield where(part.iloc[-1]) + ".\n"
        for curve, g in part.groupby("curve", sort=False):

            def cell(r, c):
                return {"L": lambda: r.max_len, "loss": lambda: r.loss}.get(c, lambda: f"{getattr(r, c):,}")()

            ranking = curve == "ranking"
            yield markdown(
                heads[curve]
                + (["s for 2,000 users"] if ranking else ["ms a step", "s an epoch", "s before the first"])
                + ["MB"],
                [
                    [cell(r, c) for c in heads[curve]]
                    + ([n(r.epoch)] if ranking else [n(r.step * 1000), n(r.epoch), n(r.setup)])
                    + [n(r.memory, 4)]
                    for r in g.itertuples()
                ],
            )
            if (
                curve == "items"
                and (most := g[g["items"] == g["items"].max()].set_index("loss").step).size == 4
            ):
                full, others = most["full softmax"], most.drop("full softmax")
                yield (
                    f"With {g['items'].max():,} items a step of the full softmax takes"
                    f" {full / others.max():.0f} to {full / others.min():.0f} times as long as one with"
                    " sampled items: it scores every item at every position. From some 100,000 items on a"
                    " sampled softmax or GenNi's pre-selection takes its place. What they still pay for each"
                    " item is Adam's pass over the whole table.\n"
                )


NO_CARD = """## On a GPU

No time on a GPU has been measured yet. What can be tested without one is tested (`tests/test_gpu.py`): that a
step of every system waits for nothing and stays on its device, that a recorded step gives what the step
itself gives, and that the padded layout learns what the packed one does. On a machine with a card this
measures the rest, in three calls of nine minutes, and shows it here:

    python benchmarks/gpu.py --data FOLDER --minutes 9 --out first
    python benchmarks/gpu.py --data FOLDER --minutes 9 --out second --resume first
    python benchmarks/gpu.py --data FOLDER --minutes 9 --out third --resume second
    python benchmarks/report.py --gpu third
"""


def on_a_gpu(rows):  # a row for each figure, by its key
    yield f"## On a GPU\n\n{rows[-1]['device']}, torch {rows[-1]['torch']}, code {rows[-1]['code']}.\n"
    good = {r["key"]: r for r in rows if "error" not in r}
    of = {}
    for key, r in good.items():
        if key.startswith("systems/"):
            of.setdefault(key.split("/")[1], {})[f"{r['how']}, {r['precision']}"] = r
    if of:
        kinds = sorted({k for found in of.values() for k in found}, reverse=True)
        yield "Seconds an epoch on Beauty, and the largest memory of the fastest, MB:\n"
        yield markdown(
            ["system", *kinds, "MB"],
            [
                [name]
                + [n(found[k]["epoch"]) if k in found else "" for k in kinds]
                + [n(min(found.values(), key=lambda r: r["epoch"]).get("peak_mb", 0))]
                for name, found in of.items()
            ],
        )
    rest = {k: r for k, r in good.items() if not k.startswith("systems/") and k != "pages"}
    if rest:
        told = ("key", "device", "torch", "code", "at")
        yield markdown(
            ["what", "figures"],
            [
                [
                    k,
                    ", ".join(
                        f"{a} {n(v) if isinstance(v, float) else v}" for a, v in r.items() if a not in told
                    ),
                ]
                for k, r in rest.items()
            ],
        )
    if "pages" in good:
        cells = {p: c for p, c in good["pages"].items() if isinstance(c, dict)}
        passed = sum(v == "passed" for c in cells.values() for v in c.values())
        yield f"Of {sum(map(len, cells.values()))} notebook cells that need a card, {passed} passed.\n"
    failed = {r["key"]: r["error"] for r in rows if "error" in r and r["key"] not in good}
    if failed:
        yield "Not measured:\n\n" + "".join(f"- {k}: {e.splitlines()[0]}\n" for k, e in failed.items())


def card(folder):
    path = folder / "gpu.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return on_a_gpu(rows) if rows else [NO_CARD]


def main(folder=HERE):
    results = latest(folder / "results.tsv", ["system", "data", "machine", "threads"])
    quality = latest(folder / "quality.tsv", ["system", "data", "seed", "machine", "threads"])
    grow = latest(
        folder / "grow.tsv", ["curve", "users", "items", "max_len", "batch", "loss", "machine", "threads"]
    )
    parts = [
        INTRO,
        *(
            x
            for f, t in ((comparisons, results), (qualities, quality), (growth, grow))
            if t is not None
            for x in f(t)
        ),
        *card(folder),
        HOW.replace("{before}", "400" if results is None else n(results.before.median(), 2)),
    ]
    ((HERE.parent if folder == HERE else folder) / "BENCHMARKS.md").write_text("\n".join(parts))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--gpu"]:
        shutil.copyfile(Path(sys.argv[2]) / "gpu.jsonl", HERE / "gpu.jsonl")
        main()
    else:
        main(*map(Path, sys.argv[1:]))
