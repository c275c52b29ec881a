"""What must hold of every method: it trains in double precision, and whoever looks at it while it trains
changes nothing.
"""

import inspect

import pytest
import torch

from seqrec_nb.analyse import similarities, watch_similarities
from seqrec_nb.batches import user_rows
from seqrec_nb.data import load
from seqrec_nb.models.fenrec import PLUGGED, cl4srec_fenrec, duorec_fenrec
from seqrec_nb.models.sparseennet import sparseennet
from seqrec_nb.models.views import Contrast, duorec
from seqrec_nb.systems import systems
from seqrec_nb.train import Training, plain_step, train

torch.set_num_threads(1)
SMALL = {"dim": 8, "hidden": 8, "layers": 1, "heads": 1, "max_len": 5, "warmup": 1}


def calls():
    "One call for each method, by name; of S3-Rec the pre-training, which needs no stored run."
    found = {}
    for name, (call, _) in systems("builtin").items():
        pre = isinstance(call.get("start"), dict)
        call = call["start"] if pre else call
        if "ds" in inspect.signature(call["method"]).parameters and name not in (
            "popularity",
            "Markov-1",
            "decayed transitions",
        ):
            found[f"{name}, pre-training" if pre else name] = call
    duo = {k: v for k, v in found["DuoRec"].items() if k != "method"}
    found["CL4SRec with FENRec"] = {"method": cl4srec_fenrec, **PLUGGED["beauty"]}
    found["DuoRec with FENRec and noise"] = {**duo, "method": duorec_fenrec, "noise": 2.0}
    found["DuoRec, un"] = {**duo, "method": duorec, "mode": "un"}
    found["SparseEnNet, in batch"] = {"method": sparseennet, "negatives": "in batch"}
    return found


CALLS = calls()


def begin(call, double=False, **kw):
    "A small training of a method on an eighth of its rows."
    takes = inspect.signature(call["method"]).parameters
    small = {k: v for k, v in SMALL.items() if k in takes}
    small |= {k: 4 for k in ("clusters", "n_clusters") if k in takes and isinstance(takes[k].default, int)}
    settings = {k: v for k, v in call.items() if k in takes} | small
    ds = load()
    rows = call.get("rows", user_rows)(ds, max_len=settings.get("max_len", 5))
    rows = rows[torch.arange(0, len(rows), 1 + len(rows) // 150)]
    torch.manual_seed(0)
    objective = call["method"](ds, **settings)
    if double:
        objective.double()
    return Training(objective, rows, batch_size=64, step=call.get("step", plain_step), **kw)


def look(training):
    "All that a watcher may do: choose for a batch, compute its terms, compare its views."
    g = torch.Generator().manual_seed(7)
    o = training.objective.train()
    batch = o.prepare(training.rows[torch.arange(40)].batch(), g)
    o.terms(batch)
    for value in o.terms(o.prepare(training.rows[torch.arange(40, 80)].batch(), g)).values():
        assert value.isfinite().all()
    if isinstance(o, Contrast) and len(o.encode_views(batch)) > 1:
        similarities(o, batch)
        watch_similarities(training, every=1)
    return {}


@pytest.mark.parametrize("name", CALLS)
def test_watching_leaves_training_equal_to_the_bit(name):
    states = []
    for watch in (None, look):
        t = begin(CALLS[name])
        history, _ = train(t, lambda objective: 1.0, epochs=2, progress=False, watch=watch)
        states.append(
            (t.objective.state_dict(), [{k: v for k, v in r.items() if "seconds" not in k} for r in history])
        )
    (alone, told), (watched, told_too) = states
    assert told == told_too
    assert all(torch.equal(x, watched[n]) or torch.isnan(x).all() for n, x in alone.items())


@pytest.mark.parametrize("name", CALLS)
def test_double_precision(name):
    t = begin(CALLS[name], double=True)
    before = {n: p.detach().clone() for n, p in t.objective.named_parameters()}
    o = t.objective
    for epoch in (1, 2):  # in the second one warm-ups are over
        o.epoch = epoch
        o.train().on_epoch(epoch, t.rows)
        batch = o.prepare(t.rows[torch.arange(64)].batch(), t.generator)
        terms = t.step(o, batch, t.opt)
        assert all(x.isfinite() and x.dtype == torch.double for x in terms.values()), terms
    assert all(p.dtype == torch.double and p.isfinite().all() for p in o.parameters())
    assert sum(not torch.equal(p, before[n]) for n, p in o.named_parameters()) > len(before) / 2
