"""What a GPU will ask of every system, asked without one: a step waits for nothing and stays on its device,
a recorded step is the step, and the padded layout that a GPU takes learns what the packed one does.
"""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from test_methods import EXPERIMENTS, begin

from seqrec_nb.batches import REGISTERED, rectangles, user_rows
from seqrec_nb.gpu import CapturedStep, Recorded, dry_run
from seqrec_nb.settings import Method, experiment
from seqrec_nb.stacked import Stack, _one_epoch
from seqrec_nb.train import fit

torch.set_num_threads(1)
READINGS = {
    f.__qualname__: experiment(f)
    for f in list(REGISTERED.values())
    if isinstance(f, type) and issubclass(f, Method) and f not in {e.method for e in EXPERIMENTS.values()}
    if "start" not in f.Config.__dataclass_fields__
}
READINGS["S4RecRawViewsKMeans"] = READINGS["S4RecRawViewsKMeans"].but(clusters=0.0)
ALL = EXPERIMENTS | READINGS


@pytest.mark.parametrize("name", ALL)
def test_waits_for_nothing(name):
    "A step, the start of an epoch and a ranking."
    with rectangles():
        t = begin(ALL[name])
        dry_run(t, user_rows(t.rows.ds, "valid", t.rows.max_len))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_recorded_is_the_same(name):
    "Two epochs, replayed, give the parameters of two epochs without a recording."
    states = []
    with rectangles():
        for recorded in (False, True):
            t = begin(EXPERIMENTS[name])
            if recorded:
                t.one = CapturedStep(t, Recorded, strict=True)
            list(fit(t, 2))
            states.append(t.objective.state_dict())
    assert t.one.recordings
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=0, atol=0, equal_nan=True, msg=key)


@contextmanager
def draws_of(layout):
    "Random numbers for the positions of a packed layout are those that the padded one would draw for them."
    real, slots = torch.rand, layout.width * len(layout.last)

    def rand(*size, **kw):
        size = size[0] if isinstance(size[0], (tuple, list, torch.Size)) else size
        if size[0] != len(layout.kept):
            return real(size, **kw)
        return real((slots, *size[1:]), **kw)[layout.kept]

    torch.rand = rand
    try:
        yield
    finally:
        torch.rand = real


def take_over(batch, like):
    "S3-Rec draws negatives for masked positions, in a rectangle for all: take the same ones."
    if like is not None and hasattr(batch, "counts"):
        batch.negative = like.negative[batch.layout4.kept[batch.masked]]


def loss_and_gradients(t, index, like=None, seed=0):
    g, o = torch.Generator().manual_seed(seed), t.objective.train()
    torch.manual_seed(seed)
    batch = t.rows.batch(index)
    # BPR-MF and Caser take windows of their own, without a layout
    with draws_of(batch.layout) if batch.length.min() else nullcontext():
        batch = o.prepare(batch, g)
        take_over(batch, like)
        terms = o.terms(batch)
        grads = torch.autograd.grad(o.total(terms), list(o.parameters()), allow_unused=True)
    return batch, terms, grads


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_padded_is_packed(name):
    "Without dropout, and for the same draws, each term and all gradients."
    e = EXPERIMENTS[name]
    e = e.but(**{n: 0.0 for n in e.names(e.config) if "dropout" in n})
    t = begin(e)
    t.objective.epoch = 2
    t.objective.train().on_epoch(2, t.rows)
    index = torch.arange(0, len(t.rows), 2)[:60]
    with rectangles():
        batch, padded, padded_grads = loss_and_gradients(t, index)
    _, packed, packed_grads = loss_and_gradients(t, index, like=batch)
    for term, value in packed.items():
        torch.testing.assert_close(value, padded[term], atol=1e-6, rtol=1e-6, msg=term)
    for (name, _), a, b in zip(t.objective.named_parameters(), packed_grads, padded_grads):
        size = 1.0 if b is None else max(1.0, b.abs().max().item())  # DSSRec's losses are sums over a batch
        torch.testing.assert_close(a, b, atol=1e-5 * size, rtol=0, msg=name)


@pytest.mark.parametrize("name", ["SASRec, BCE", "GenNi", "CL4SRec, BCE", "BERT4Rec"])
def test_stacked_recorded_is_the_same(name):
    "Several seeds as one model, replayed."
    states = []
    for recorded in (False, True):
        trainings = [begin(EXPERIMENTS[name], seed=seed) for seed in range(2)]
        stack = Stack(trainings)
        stack.one = CapturedStep(stack, Recorded, strict=True) if recorded else stack.eager
        with rectangles():
            for stack.epoch in (1, 2):
                for t in trainings:
                    t.objective.epoch = stack.epoch
                _one_epoch(stack)
        assert not recorded or stack.one.recordings
        states.append([p.clone() for p in stack.parameters.values()])
    for a, b in zip(*states):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
