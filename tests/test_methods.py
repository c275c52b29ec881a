"""What must hold of every method: it trains in double precision, it is resumed to the bit, whoever looks at
it while it trains changes nothing, and under a split by time nothing after the first cut does.
"""

from dataclasses import replace

import pytest
import torch

from seqrec_nb.analyse import similarities, watch_similarities
from seqrec_nb.batches import cuts, user_rows
from seqrec_nb.data import load
from seqrec_nb.evaluate import ranks
from seqrec_nb.methods.fenrec import PLUGGED, CL4SRecFENRec, DuoRecFENRec
from seqrec_nb.methods.sparseennet import SparseEnNetInBatch
from seqrec_nb.methods.views import Contrast
from seqrec_nb.runs import parted
from seqrec_nb.settings import Protocol, experiment
from seqrec_nb.study.systems import first_trainings, systems
from seqrec_nb.train import Training, train

torch.set_num_threads(1)
SMALL = {"dim": 8, "hidden": 8, "layers": 1, "heads": 1, "max_len": 5, "warmup": 1, "n_clusters": 4}


def experiments():
    "One experiment for each method, by name; of S3-Rec the pre-training, which needs no stored run."
    found, known = {}, systems("builtin")
    for name, e in first_trainings("builtin").items():
        found[name if e == known[name][0] else f"{name}, pre-training"] = e
    duo = found["DuoRec"]
    found["CL4SRec with FENRec"] = experiment(CL4SRecFENRec, **PLUGGED["beauty"])
    found["DuoRec with FENRec and noise"] = duo.but(method=DuoRecFENRec, noise=2.0)
    found["DuoRec, un"] = duo.but(mode="un")
    found["SparseEnNet, in batch"] = experiment(SparseEnNetInBatch)
    return found


EXPERIMENTS = experiments()


def begin(e, double=False, ds=None, **kw):
    "A small training of a method on an eighth of its rows."
    e = e.but(**{n: v for n, v in SMALL.items() if e.has(n)})
    ds = ds or load()
    rows = e.rows(ds, max_len=e.max_len)
    rows = rows[torch.arange(0, len(rows), 1 + len(rows) // 150)]
    torch.manual_seed(0)
    objective = e.method(ds, e.config)
    if double:
        objective.double()
    return Training(objective, rows, batch_size=64, step=e.training.step, **kw)


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


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_watching_leaves_training_equal_to_the_bit(name):
    states = []
    for watch in (None, look):
        t = begin(EXPERIMENTS[name])
        history, _ = train(t, lambda objective: 1.0, epochs=2, progress=False, watch=watch)
        states.append(
            (t.objective.state_dict(), [{k: v for k, v in r.items() if "seconds" not in k} for r in history])
        )
    (alone, told), (watched, told_too) = states
    assert told == told_too
    assert all(torch.equal(x, watched[n]) or torch.isnan(x).all() for n, x in alone.items())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_resumed_is_equal_to_the_bit(name, tmp_path):
    states = []
    for stops in ((3,), (1, 3)):
        for epochs in stops:  # each with an objective of its own, which knows nothing of the one before
            t = begin(EXPERIMENTS[name])
            file = tmp_path / f"{len(stops)}.checkpoint"
            history, _ = train(t, lambda o: o.epoch, epochs=epochs, checkpoint=file, progress=False)
        assert len(history) == 3
        states.append(
            (t.objective.state_dict(), [{k: v for k, v in r.items() if "seconds" not in k} for r in history])
        )
    (whole, told), (resumed, told_too) = states
    assert told == told_too
    assert all(torch.equal(x, resumed[n]) or torch.isnan(x).all() for n, x in whole.items())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_double_precision(name):
    t = begin(EXPERIMENTS[name], double=True)
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


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_nothing_after_the_first_cut_is_learned(name):
    ds = load()
    after = ds.times >= cuts(ds)[0]
    other = torch.randint(1, ds.n_items + 1, (len(after),), generator=torch.Generator().manual_seed(0))
    states = []
    for d in (ds, replace(ds, items=torch.where(after, other, ds.items))):
        known, asked = parted(d, Protocol(split="time"))
        t = begin(EXPERIMENTS[name], ds=known)
        train(t, lambda objective: 1.0, epochs=1, progress=False)
        states.append(t.objective.state_dict())
        if not name.endswith("pre-training"):
            rows = user_rows(asked, "test", t.rows.max_len)[torch.arange(20)]
            assert (ranks(t.objective, rows) < d.n_items).all()
    assert all(torch.equal(x, states[1][n]) or torch.isnan(x).all() for n, x in states[0].items())
