"""Before any time is measured: both sides do the same work.

    python benchmarks/equal.py

Each system's loss and gradients here and in `plain.py`, on one batch from the same weights with dropout off;
packed rows against padded ones;
the share that dropout keeps, column by column; ranks against sorting all scores.
"""

import plain
import torch

import seqrec_nb  # noqa: F401  first: it sets how threads wait
from seqrec_nb.batches import pack, prefix_rows, rectangle, user_rows
from seqrec_nb.data import load
from seqrec_nb.evaluate import ranks
from seqrec_nb.methods.fenrec import FENRec
from seqrec_nb.methods.intents import ICLREC_AUTHORS, ICLRec
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.methods.views import CL4SRec, DuoRec
from seqrec_nb.nn.encoders import dropout
from seqrec_nb.train import Training, fast_cpu


def pairs(encoder, model):  # each parameter of the library's encoder beside the plain model's
    yield from (
        (encoder.items.weight, model.items.weight),
        (encoder.slots.weight, model.slots.weight),
        (encoder.norm.weight, model.norm.weight),
        (encoder.norm.bias, model.norm.bias),
    )
    for a, b in zip(encoder.blocks, model.layers.layers):
        yield from ((a.qkv.weight, b.self_attn.in_proj_weight), (a.qkv.bias, b.self_attn.in_proj_bias))
        for x, y in (
            (a.out, b.self_attn.out_proj),
            (a.up, b.linear1),
            (a.down, b.linear2),
            (a.norm1, b.norm1),
            (a.norm2, b.norm2),
        ):
            yield from ((x.weight, y.weight), (x.bias, y.bias))


def padded(batch, x):  # [M] of the real positions -> [B,L]
    return x.new_zeros(len(batch) * 50).index_copy(0, batch.layout.kept, x.flatten()).view(-1, 50)


def views(batch):  # items, length, items, length
    items, layout = batch.views
    (a, b), (n, m) = items.chunk(2), layout.row.bincount().chunk(2)
    return a, n, b, m


AUTHORS = {k: v for k, v in ICLREC_AUTHORS.items() if k not in ("later", "seen_score", "spare_held_out")}


def from_users(b):
    return b.items, b.length, padded(b, b.target)


def with_negatives(b):
    return *from_users(b), padded(b, b.negative)


def from_prefixes(b):
    return b.items, b.target, b.views[0][len(b) :]


def with_labels(o, b):
    return *from_prefixes(b), *(x[b.rows.start + b.rows.length] for x in (o.loss.items, o.loss.weight))


SYSTEMS = {  # name: objective, rows, epoch, (model, objective, batch) -> plain loss
    "SASRec-BCE": (
        lambda ds: SASRec(ds, loss="bce", dropout=0.0),
        user_rows,
        1,
        lambda m, o, b: plain.sasrec_bce(m, *with_negatives(b)),
    ),
    "SASRec-CE": (
        lambda ds: SASRec(ds, dropout=0.0),
        user_rows,
        1,
        lambda m, o, b: plain.sasrec_ce(m, *from_users(b)),
    ),
    "CL4SRec": (
        lambda ds: CL4SRec(ds, dropout=0.0),
        user_rows,
        1,
        lambda m, o, b: plain.cl4srec(m, *with_negatives(b), *views(b)),
    ),
    "DuoRec": (
        lambda ds: DuoRec(ds, dropout=0.0),
        prefix_rows,
        1,
        lambda m, o, b: plain.duorec(m, *from_prefixes(b)),
    ),
    "ICLRec": (
        lambda ds: ICLRec(ds, dropout=0.0),
        user_rows,
        1,
        lambda m, o, b: plain.iclrec(m, *with_negatives(b), *views(b), o.kmeans.centroids),
    ),
    "ICLRec authors": (
        lambda ds: ICLRec(ds, dropout=0.0, **AUTHORS),
        user_rows,
        1,
        lambda m, o, b: plain.iclrec_authors(m, *with_negatives(b), *views(b), o.kmeans.centroids),
    ),
    "FENRec warm-up": (
        lambda ds: FENRec(ds, dropout=0.0),
        prefix_rows,
        1,
        lambda m, o, b: plain.fenrec(m, *with_labels(o, b), o.kmeans.centroids),
    ),
    "FENRec": (
        lambda ds: FENRec(ds, dropout=0.0),
        prefix_rows,
        21,
        lambda m, o, b: plain.fenrec(m, *with_labels(o, b), o.kmeans.centroids, True, b.noise),
    ),
}


# relative to the largest element
def apart(a, b):
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()


def close(what, error, limit):
    assert error <= limit, f"{what}: {error:.1e} apart, {limit:g} allowed"
    return f"{error:.1e}"


# float32: distance of the losses, of the gradients, and of the plain gradients from their float64 selves;
# float64: of losses and gradients
def losses(ds, name):
    make, rows, epoch, f = SYSTEMS[name]
    torch.manual_seed(0)
    t, model = Training(make(ds), rows(ds)), plain.Model(ds.n_items, p=0.0)
    o = t.objective.train()
    o.epoch = epoch
    with torch.no_grad():
        # as if trained: biases too
        for p in o.encoder.parameters():
            p.add_(torch.randn_like(p) * 0.05)
        for p, q in pairs(o.encoder, model):
            q.copy_(p)
    o.on_epoch(epoch, t.rows[torch.arange(min(len(t.rows), 2000))])
    batch, found = o.prepare(next(iter(t.rows.batches(256, t.generator))), t.generator), []
    for dtype in (torch.float32, torch.float64):
        o.to(dtype).zero_grad()
        model.to(dtype).zero_grad()
        if hasattr(batch, "noise"):
            batch.noise = batch.noise.to(dtype)
        with fast_cpu():
            loss = o.total(o.terms(batch))
            loss.backward()
        other = f(model, o, batch)
        other.backward()
        found.append(
            (
                loss.item(),
                other.item(),
                [p.grad.clone() for p, _ in pairs(o.encoder, model)],
                [q.grad.clone() for _, q in pairs(o.encoder, model)],
            )
        )
    (a, b, g, h), (c, d, g64, h64) = found

    def far(x, y):
        return max(map(apart, x, y))

    return abs(a - b) / abs(b), far(g, h), far(h, h64), abs(c - d) / abs(d), far(g64, h64)


def packing(ds):  # how far packed hidden states and gradients are from those of a padded rectangle
    torch.manual_seed(0)
    encoder, batch = SASRec(ds, dropout=0.0).encoder, user_rows(ds).batch(torch.arange(256))
    weight, out = torch.randn(256 * 50, 64), {}
    for layout in (pack(batch.length, 50), rectangle(batch.length, 50)):
        encoder.zero_grad()
        h = encoder(batch.items, layout)
        if not len(out):
            kept = layout.kept
        else:
            h = h[kept]  # a rectangle gives all slots
        (h * weight[kept]).sum().backward()
        out[layout.cell is None] = h.detach(), [p.grad.clone() for p in encoder.parameters()]
    return apart(out[False][0], out[True][0]), max(apart(a, b) for a, b in zip(out[False][1], out[True][1]))


def main():
    ds = load()
    print(
        f"both sides on one batch of {ds.name}, dropout off: how far apart\n"
        f"{'':20}{'loss':>10}{'gradients':>12}{'plain: rounding':>18}"
        f"{'in float64: loss':>20}{'gradients':>12}"
    )
    for name in SYSTEMS:
        loss, gradient, rounding, loss64, gradient64 = losses(ds, name)
        print(
            f"{name:20}{close(name, loss, 1e-6):>10}"
            f"{close(name, gradient, max(1e-5, 10 * rounding)):>12}{rounding:>18.1e}"
            f"{close(name, loss64, 1e-12):>20}{close(name, gradient64, 1e-11):>12}",
            flush=True,
        )
    h, g = packing(ds)
    print(
        f"\npacked and padded: hidden states {close('hidden states', h, 1e-6)}, gradients"
        f" {close('gradients', g, 1e-5)}"
    )
    for p in (0.1, 0.5):
        kept = (dropout(torch.ones(40_000, 64), p) > 0).double().mean(0)
        sigma = (p * (1 - p) / 40_000) ** 0.5
        assert ((kept - (1 - p)).abs() < 5 * sigma).all(), (
            f"dropout keeps {kept.min():.4f} to {kept.max():.4f} of a column, not {1 - p}"
        )
        print(f"dropout {p}: keeps {kept.min():.4f} to {kept.max():.4f} of each of 64 columns")
    model, test = SASRec(ds).eval(), user_rows(ds, "test")[torch.arange(300)]
    scores = model.score(test.batch()).detach()
    scores.scatter_(1, test.seen(), -torch.inf)
    scores[:, 0] = -torch.inf
    brute = (scores.argsort(1, descending=True) == test.batch().next[:, None]).nonzero()[:, 1]
    # 1: two scores that rounding makes equal
    assert (ranks(model, test) - brute).abs().max() <= 1, "ranks differ from those of sorting all scores"
    print(f"ranks of {len(test)} users: those of sorting all scores")


if __name__ == "__main__":
    main()
