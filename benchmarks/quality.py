"""Seconds to a figure: SASRec trained, validated every third epoch, the best of these by validation NDCG@10
ranked on the test set once.

    python benchmarks/quality.py --data beauty
"""

import argparse
import os
import time
from pathlib import Path

import torch
from side import add

import seqrec_nb  # noqa: F401  before torch
from seqrec_nb.batches import user_rows
from seqrec_nb.data import at_hand, load
from seqrec_nb.evaluate import evaluate, validation
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.runs import code_version, device_name
from seqrec_nb.train import Best, Training, fast_cpu, fit

# epochs; on Beauty: HR@10, NDCG@10, within so many seconds
ASKED = {"bce": (60, 0.055, 0.029, 120), "ce": (27, 0.090, 0.054, 180)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default="beauty" if "beauty" in at_hand() else "builtin")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--epochs", type=int, help="instead of 60 and 27")
    p.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    p.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "quality.tsv", help="where rows are added"
    )
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    ds = load(a.data)
    print(
        f"{ds}\n{device_name()}, code {code_version()}\n\n"
        f"{'':12}{'epochs':>8}{'best':>6}{'training, s':>13}{'with validation, s':>20}"
        f"{'HR@10':>9}{'NDCG@10':>9}"
        "   asked on Beauty"
    )
    for loss, (epochs, hr, ndcg, seconds) in ASKED.items():
        torch.manual_seed(a.seed)
        t = Training(SASRec(ds, loss=loss), user_rows(ds), seed=a.seed)
        validate, best, training, began = (
            validation(user_rows(ds, "valid"), "NDCG@10"),
            Best(),
            0.0,
            time.perf_counter(),
        )
        for row in fit(t, a.epochs or epochs):
            training += row["seconds"]
            if row["epoch"] % 3 and row["epoch"] < (a.epochs or epochs):
                continue
            t.objective.eval()
            with torch.no_grad(), fast_cpu():
                best.update(validate(t.objective), row["epoch"], t.objective)
        took = time.perf_counter() - began
        t.objective.load_state_dict(best.weights)
        found = evaluate(t.objective, user_rows(ds, "test"), (10,))
        r = dict(
            system=f"SASRec-{loss.upper()}",
            data=a.data,
            seed=a.seed,
            epochs=t.epoch,
            best=best.epoch,
            training=training,
            seconds=took,
            hr=found["HR@10"],
            ndcg=found["NDCG@10"],
            asked_hr=hr,
            asked_ndcg=ndcg,
            asked_seconds=seconds,
            machine=device_name(),
            threads=a.threads,
            torch=torch.__version__,
            code=code_version(),
            date=time.strftime("%Y-%m-%d %H:%M"),
        )
        print(
            f"{r['system']:12}{r['epochs']:8}{r['best']:6}{r['training']:13.1f}{r['seconds']:20.1f}{r['hr']:9.4f}{r['ndcg']:9.4f}"
            f"   {hr}/{ndcg} in {seconds} s",
            flush=True,
        )
        add(a.out, r)


if __name__ == "__main__":
    main()
