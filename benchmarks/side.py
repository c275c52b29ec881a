"""One side of a comparison, in a process of its own: it works when told to, so that two sides take turns, and
knows what memory it took.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Side:
    steps: int  # in an epoch, or whatever is timed
    positions: int  # real positions, or users, that an epoch goes through
    work: Iterator  # each `next` is one step
    begin: Callable | None = None  # what an epoch begins with, such as K-means


def timed(f):
    began = time.perf_counter()
    f()
    return time.perf_counter() - began


# MB of this process, at most so far
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def add(path, row):  # one more line of a table; numbers to four digits
    new = not path.exists()
    with open(path, "a") as f:
        if new:
            print(*row, sep="\t", file=f)
        print(
            *("" if v is None else f"{v:.4g}" if isinstance(v, float) else v for v in row.values()),
            sep="\t",
            file=f,
        )


def serve(make):  # make: () -> Side
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed goes to stderr

    def answer(**kw):
        print(json.dumps(kw), file=out, flush=True)

    before, began = peak(), time.perf_counter()  # what Python, torch and the libraries take
    side = make()
    answer(
        setup=time.perf_counter() - began,
        before=before,
        steps=side.steps,
        positions=side.positions,
        begins=side.begin is not None,
        threads=torch.get_num_threads(),
        spin=os.environ.get("GOMP_SPINCOUNT"),
    )
    for line in sys.stdin:
        word, *n = line.split()
        if word == "step":
            answer(seconds=timed(lambda: [next(side.work) for _ in range(int(n[0]))]))
        elif word == "begin":
            answer(seconds=timed(side.begin))
        elif word == "end":
            memory = peak()
            with FlopCounterMode(display=False) as flops:
                next(side.work)
            answer(memory=memory, flops=flops.get_total_flops())
            return
