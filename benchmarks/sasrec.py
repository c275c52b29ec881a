"""An epoch of SASRec here, beside a plainly written one: same rows, batch, size of model, loss and number of negatives, steps interleaved in one process.

    make bench            (on Beauty where SEQREC_DATA has it, else on a generated world of its size)
"""
import math, statistics, time

import seqrec_nb  # noqa: F401  first: it sets how threads wait, for both sides
import plain
import torch
from tqdm.auto import tqdm

from seqrec_nb.batches import user_rows
from seqrec_nb.data import DataError, load
from seqrec_nb.evaluate import ranks
from seqrec_nb.models.sasrec import sasrec
from seqrec_nb.runs import code_version, device_name
from seqrec_nb.train import Training, fast_cpu
from seqrec_nb.world import generate

def ours(ds, loss):
    "A generator: each `next` is one training step, batch and negatives included."
    t = Training(sasrec(ds, loss), user_rows(ds))
    t.objective.train()
    while True:
        for batch in t.rows.batches(t.batch_size, t.generator):
            with fast_cpu(): t.step(t.objective, t.objective.prepare(batch, t.generator), t.opt)
            yield

def median_steps(sides, rounds, warm=2):
    "Median seconds of a step of each side, taken in turns."
    took = {n: [] for n in sides}
    for i in tqdm(range(warm + rounds), leave=False):
        for n, (side, times) in sides.items():
            for _ in range(times):
                began = time.perf_counter(); next(side)
                if i >= warm: took[n].append(time.perf_counter() - began)
    return {n: statistics.median(t) for n, t in took.items()}

def main():
    try: ds = load("beauty")
    except DataError: ds = generate(22363, 12101, name="a world of Beauty's size").dataset
    torch.manual_seed(0)
    sequences = [s.tolist() for s in ds]
    steps = math.ceil(len(user_rows(ds)) / 256)
    print(f"{ds}\n{device_name()}, torch {torch.__version__}, code {code_version()}; batch 256, L 50, d 64, 2 layers, 2 heads, dropout .5\n")
    print(f"{'':24}{'here, s an epoch':>18}{'plain, s an epoch':>19}{'ratio':>8}")
    for name, loss, f, rounds in (("SASRec-BCE", "bce", plain.bce, 8), ("SASRec-CE", "ce", plain.ce, 3)):
        m = median_steps({"here": (ours(ds, loss), 8), "plain": (plain.steps(sequences, ds.n_items, f), 2)}, rounds)
        print(f"{name:24}{m['here'] * steps:18.2f}{m['plain'] * steps:19.1f}{m['plain'] / m['here']:8.1f}", flush=True)
    model, test = sasrec(ds), user_rows(ds, "test")
    took = []
    for _ in range(4): began = time.perf_counter(); ranks(model, test); took.append(time.perf_counter() - began)
    print(f"\nranking {len(test):,} users by {ds.n_items:,} items: {statistics.median(took[1:]):.2f} s")

if __name__ == "__main__": main()
