"Two workers stay the same model, and learn what one process learns."

import multiprocessing as mp
import os
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from seqrec_nb.data import load
from seqrec_nb.methods.fenrec import FENRec
from seqrec_nb.methods.genni import GenNi
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.methods.views import CL4SRec
from seqrec_nb.train import Training, fit, load_tensors, save_tensors
from seqrec_nb.workers import fit_on_ray, share

SMALL = dict(dim=16, layers=1, max_len=20, dropout=0.0)
METHODS = {
    "ce": lambda ds: SASRec(ds, **SMALL),
    "bce": lambda ds: SASRec(ds, loss="bce", **SMALL),
    "GenNi": lambda ds: GenNi(ds, adjust=True, **SMALL),
    "CL4SRec": lambda ds: CL4SRec(ds, **SMALL),
    "FENRec": lambda ds: FENRec(ds, warmup=1, n_clusters=8, **SMALL),
}


def make(name="ce"):
    torch.manual_seed(0)
    ds = load()
    objective = METHODS[name](ds)
    return Training(objective, objective.rows(ds, max_len=20)[torch.arange(640)], 64)


def work(rank, folder, name):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    t = make(name)
    if rank:
        torch.nn.init.ones_(t.objective.encoder.items.weight)  # the first worker's parameters count
    losses = [r["next_item"] for r in fit(share(t), 3)]
    save_tensors(folder / f"{rank}.weights", t.objective.state_dict(), {"losses": losses})


def two(folder, name):
    ctx = mp.get_context("spawn")
    both = [ctx.Process(target=work, args=(rank, folder, name)) for rank in (0, 1)]
    for p in both:
        p.start()
    for p in both:
        p.join()
    assert all(p.exitcode == 0 for p in both)
    (first, a), (second, b) = (load_tensors(folder / f"{rank}.weights") for rank in (0, 1))
    assert a == b and all(torch.equal(first[k], second[k]) for k in first)
    return a["losses"], first


def test_two_workers_and_one_process(tmp_path):
    losses, state = two(tmp_path, "ce")
    alone = make()
    torch.testing.assert_close(losses, [r["next_item"] for r in fit(alone, 3)], rtol=1e-5, atol=0)
    torch.testing.assert_close(
        state["encoder.items.weight"], alone.objective.encoder.table(), rtol=0, atol=1e-5
    )


SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in ("bce", "CL4SRec")]


@pytest.mark.parametrize("name", ["GenNi", "FENRec", *SLOW])
def test_workers_that_draw_stay_together(tmp_path, name):
    "Negatives, views, noise, a hardness that adjusts itself, clusters: one model, and its loss falls."
    losses, _ = two(tmp_path, name)
    assert losses[-1] < losses[0]


@pytest.mark.slow  # Ray Train starts slowly, and test_queue has a Ray of its own
def test_on_ray(tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'seqrec_nb[ray]'")
    from ray.train import RunConfig

    # so that `make` can be imported there
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        runtime_env={
            "env_vars": {
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
            }
        },
    )
    try:
        result = fit_on_ray(make, 3, run_config=RunConfig(storage_path=str(tmp_path)))
        with result.checkpoint.as_directory() as folder:
            state, _ = load_tensors(f"{folder}/model.weights")
    finally:
        ray.shutdown()
    alone = make()
    rows = list(fit(alone, 3))
    torch.testing.assert_close(result.metrics["next_item"], rows[-1]["next_item"], rtol=1e-5, atol=0)
    torch.testing.assert_close(
        state["encoder.items.weight"], alone.objective.encoder.table(), rtol=0, atol=1e-5
    )
