"""The same work as papers' code is usually written: the other side of the comparison.

A DataLoader that builds one padded row at a time in Python, with its negatives and its views; torch's own
Transformer layer over all 50 slots;
losses over the padded rectangle; K-means with faiss; Adam as it comes. Nothing here is slow on purpose, and
`equal.py` shows that each loss
and each gradient is the library's.
"""

import random
from collections import defaultdict
from itertools import islice

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import nn
from torch.utils.data import DataLoader, Dataset

L = 50  # slots of a row
# torch's inference path gives NaN for the float mask that these models use
torch.backends.mha.set_fastpath_enabled(False)


# Rows


def pad(items):
    return [0] * (L - len(items)) + items


def crop(s, ratio=0.2):
    m = int(ratio * len(s))
    if m == 0:
        return [random.choice(s)]
    start = random.randint(0, len(s) - m - 1)
    return s[start : start + m]


def mask(s, ratio=0.7):
    s = s.copy()
    for i in random.sample(range(len(s)), int(ratio * len(s))):
        s[i] = 0
    return s


def reorder(s, ratio=0.2):
    m = int(ratio * len(s))
    start = random.randint(0, max(0, len(s) - m - 1))
    part = s[start : start + m]
    random.shuffle(part)
    return s[:start] + part + s[start + m :]


class Users(Dataset):
    """One row a user: items, length, next items; then, where asked for, negatives and two views with their
    lengths.
    """

    def __init__(self, sequences, highest, negatives=True, views=False):
        self.sequences, self.highest, self.negatives, self.views = (
            [s for s in sequences if len(s) > 3],
            highest,
            negatives,
            views,
        )

    def __len__(self):
        return len(self.sequences)

    def __getitem__(self, u):
        s = self.sequences[u]
        items, targets = s[:-3][-L:], s[1:-2][-L:]
        row = [torch.tensor(pad(items)), len(items), torch.tensor(pad(targets))]
        if self.negatives:
            had, drawn = set(s), []
            for _ in targets:
                n = random.randint(1, self.highest)
                while n in had:
                    n = random.randint(1, self.highest)
                drawn.append(n)
            row.append(torch.tensor(pad(drawn)))
        for _ in range(2 if self.views else 0):
            view = random.choice([crop, mask, reorder])(items)
            row += [torch.tensor(pad(view)), len(view)]
        return row


class Prefixes(Dataset):
    """A row for each prefix: items, target, items of another row with the same target; for FENRec its last
    one that differs, and soft labels.
    """

    def __init__(self, sequences, fenrec=False, gamma=0.2):
        self.fenrec, self.gamma, self.rows, self.ahead, self.of_target = (
            fenrec,
            gamma,
            [],
            [],
            defaultdict(list),
        )
        for s in sequences:
            for t in range(1, len(s) - 2):
                self.of_target[s[t]].append(len(self.rows))
                self.rows.append((s[max(0, t - L) : t], s[t]))
                self.ahead.append(s[t : min(t + 3, len(s) - 2)])
        if fenrec:
            self.last = [
                next((j for j in reversed(self.of_target[target]) if self.rows[j][0] != items), i)
                for i, (items, target) in enumerate(self.rows)
            ]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        items, target = self.rows[i]
        if self.fenrec:
            j = self.last[i]
        else:
            others = self.of_target[target]
            j = i
            while j == i and len(others) > 1:
                j = random.choice(others)
        row = [torch.tensor(pad(items)), target, torch.tensor(pad(self.rows[j][0]))]
        if self.fenrec:
            ahead, weight = self.ahead[i], [self.gamma**k for k in range(len(self.ahead[i]))]
            fill = 3 - len(ahead)
            row += [
                torch.tensor(ahead + [0] * fill),
                torch.tensor([w / sum(weight) for w in weight] + [0.0] * fill),
            ]
        return row


class Inputs(Dataset):
    "The padded items and the length of each row of another dataset, for K-means."

    def __init__(self, rows):
        self.inputs = (
            [s[:-3][-L:] for s in rows.sequences]
            if isinstance(rows, Users)
            else [items for items, _ in rows.rows]
        )

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):
        return torch.tensor(pad(self.inputs[i])), len(self.inputs[i])


# Model


class Model(nn.Module):
    def __init__(self, n_items, dim=64, layers=2, heads=2, p=0.5):
        super().__init__()
        self.items, self.slots, self.heads = (
            nn.Embedding(n_items + 2, dim, padding_idx=0),
            nn.Embedding(L, dim),
            heads,
        )
        self.norm, self.drop = nn.LayerNorm(dim, eps=1e-12), nn.Dropout(p)
        layer = nn.TransformerEncoderLayer(
            dim, heads, 4 * dim, p, "gelu", layer_norm_eps=1e-12, batch_first=True
        )
        # torch has a dropout between the two linear maps, these papers have none
        layer.dropout = nn.Identity()
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        for m in self.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)):
                nn.init.normal_(m.weight, std=0.02)

    def forward(self, items, length=None):  # [B,L] -> [B,L,D]
        x = self.drop(self.norm(self.items(items) + self.slots.weight))
        blocked = torch.ones(L, L, dtype=torch.bool).triu(1) | (items == 0)[:, None, :]
        scores = torch.zeros(blocked.shape, dtype=x.dtype).masked_fill(blocked, -10000.0)
        # where a row begins with a covered item, that position looks at its own row only
        if length is not None:
            outside = torch.arange(L) < L - length[:, None]
            scores = scores.masked_fill(outside[:, None, :], -30000.0)
        return self.layers(x, scores.repeat_interleave(self.heads, 0))


def mean(h, length):  # over a row's own slots
    real = torch.arange(L) >= L - length[:, None]
    return (h * real[..., None]).sum(1) / length[:, None]


# Losses


def bce(h, table, target, negative):
    real = (target > 0).float()
    pos, neg = (h * table[target]).sum(-1), (h * table[negative]).sum(-1)
    loss = -torch.log(torch.sigmoid(pos) + 1e-24) - torch.log(1 - torch.sigmoid(neg) + 1e-24)
    return (loss * real).sum() / real.sum()


def nt_xent(a, b, label=None):
    "InfoNCE over the 2B rows of two views; rows of equal label are not negatives."
    one = torch.eye(len(a), dtype=torch.bool)
    same = one if label is None else label[:, None] == label
    ab = (a @ b.T).masked_fill(same & ~one, float("-inf"))
    aa, bb = ((x @ x.T).masked_fill(same, float("-inf")) for x in (a, b))
    return F.cross_entropy(
        torch.cat([torch.cat([ab, aa], 1), torch.cat([bb, ab.T], 1)]), torch.arange(2 * len(a))
    )


def soft_cross_entropy(h, table, items, weight):
    label = torch.zeros(len(h), len(table), dtype=h.dtype).scatter_add_(1, items, weight.to(h.dtype))
    return -(label * (h @ table.T).log_softmax(1)).sum(1).mean()


def noise_negatives(a, b, noise, label, steps=4, lr=1e-3):
    "Noise moved along the gradient of the contrast that it takes part in."
    a, b = a.detach(), b.detach()
    pairs = (a @ b.T).masked_fill(
        (label[:, None] == label) & ~torch.eye(len(a), dtype=torch.bool), float("-inf")
    )
    for _ in range(steps):
        noise = noise.detach().requires_grad_()
        loss = F.cross_entropy(torch.cat([pairs, a @ noise.T], 1), torch.arange(len(a)))
        (g,) = torch.autograd.grad(loss, noise)
        noise = noise.detach() + lr * (g / g.norm(dim=1, keepdim=True)).nan_to_num(0.0)
    return noise


def hard_contrast(a, b, label, noise, lam=0.4, mu=0.1, tau2=8.0, m=0.2):
    "FENRec's contrast after its warm-up, the mixed negatives made as a [2B,2B,D] tensor."
    z, partner, label = torch.cat([a, b]), torch.cat([b, a]), label.repeat(2)
    same = label[:, None] == label

    def up(x, m=0.0):
        return x * (torch.tanh(x / tau2) + m)

    norm = z.norm(dim=1, keepdim=True)
    u = z / norm
    mixed = (F.normalize(lam * u[:, None] + (1 - lam) * u[None], dim=-1) * norm[None]).detach()
    positive = up((z * partner).sum(1))
    inside = up(z @ z.T, m).masked_fill(same, float("-inf"))
    hard = up((z[:, None] * mixed).sum(-1), m).masked_fill(same, float("-inf"))
    parts = [positive[:, None], inside, hard + np.log(mu)] + (
        [up(z @ noise.T, m)] if noise is not None else []
    )
    return (torch.cat(parts, 1).logsumexp(1) - positive).mean()


# Systems: (model, batch) -> loss


def sasrec_bce(model, items, length, target, negative):
    return bce(model(items), model.items.weight, target, negative)


def sasrec_ce(model, items, length, target):
    return F.cross_entropy(
        (model(items) @ model.items.weight.T).flatten(0, 1), target.flatten(), ignore_index=0
    )


def cl4srec(model, items, length, target, negative, view1, length1, view2, length2):
    n = torch.cat([length1, length2])
    a, b = mean(model(torch.cat([view1, view2]), n), n).chunk(2)
    return bce(model(items), model.items.weight, target, negative) + 0.1 * nt_xent(a, b)


def duorec(model, items, target, other):
    h, again, same = model(items)[:, -1], model(items)[:, -1], model(other)[:, -1]
    return F.cross_entropy(h @ model.items.weight.T, target) + 0.1 * nt_xent(again, same)


def intents(h, centroids):  # [B] clusters, [B,D]
    cluster = torch.cdist(h.detach(), centroids).argmin(1)
    return cluster, F.normalize(centroids)[cluster]


def iclrec(model, items, length, target, negative, view1, length1, view2, length2, centroids):
    h, n = model(items, length), torch.cat([length1, length2])
    _, c = intents(mean(h, length), centroids)
    a, b = mean(model(torch.cat([view1, view2]), n), n).chunk(2)
    return (
        bce(h, model.items.weight, target, negative)
        + 0.1 * nt_xent(a, b)
        + 0.1 * (nt_xent(a, c) + nt_xent(b, c)) / 2
    )


def iclrec_authors(model, items, length, target, negative, view1, length1, view2, length2, centroids):
    """Padding pooled too: all slots one after the other for the views, their mean for the intents, from a
    second pass.
    """
    h, views = model(items), torch.cat([view1, view2])
    _, c = intents(h.mean(1), centroids)
    flat, (a, b) = model(views).flatten(1).chunk(2), model(views).mean(1).chunk(2)
    return (
        bce(h, model.items.weight, target, negative)
        + 0.1 * nt_xent(*flat)
        + 0.1 * (nt_xent(a, c) + nt_xent(b, c)) / 2
    )


def fenrec(model, items, target, other, ahead, weight, centroids, hard=False, noise=None):
    h, a, b = model(items)[:, -1], model(items)[:, -1], model(other)[:, -1]
    if hard:
        noise = noise_negatives(
            a, b, torch.randn(2 * len(a), a.shape[1], dtype=a.dtype) if noise is None else noise, target
        )
    contrast = (lambda a, b, label: hard_contrast(a, b, label, noise)) if hard else nt_xent
    fine = sum(contrast(x, c, cluster) for x in (a, b) for cluster, c in [intents(x, centroids)])
    return (
        soft_cross_entropy(h, model.items.weight, ahead, weight) + 0.3 * contrast(a, b, target) + 0.1 * fine
    )


# What happens around them


class KMeans:
    "faiss as ICLRec's code uses it: one Clustering, fitted anew each epoch from where it stood."

    # restarts from the second fit on; ICLRec's and FENRec's code: 5, each from the same centroids
    def __init__(self, k=256, dim=64, redo=1):
        self.k, self.dim, self.redo, self.c = k, dim, redo, faiss.Clustering(dim, k)
        (
            self.c.niter,
            self.c.nredo,
            self.c.seed,
            self.c.min_points_per_centroid,
            self.c.max_points_per_centroid,
        ) = (20, 5, 1, 1, 2**31 - 1)

    def fit(self, x):  # [R,D] -> [K,D]
        self.c.train(x, faiss.IndexFlatL2(self.dim))
        self.c.nredo = self.redo
        return torch.from_numpy(faiss.vector_to_array(self.c.centroids).reshape(self.k, self.dim))


@torch.no_grad()
def represent(model, rows, vector, batches=None, batch_size=256):  # vector: (h, length) -> [B,D]
    model.eval()
    x = torch.cat(
        [
            vector(model(items, length), length)
            for items, length in islice(DataLoader(Inputs(rows), batch_size), batches)
        ]
    )
    model.train()
    return x.numpy()


def steps(model, rows, loss, batch_size=256):
    "A generator: each `next` is one training step."
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        for batch in DataLoader(rows, batch_size, shuffle=True):
            opt.zero_grad()
            loss(model, *batch).backward()
            opt.step()
            yield


class Histories(Dataset):
    "Test: everything but the last item."

    def __init__(self, sequences):
        self.sequences = sequences

    def __len__(self):
        return len(self.sequences)

    def __getitem__(self, u):
        return u, torch.tensor(pad(self.sequences[u][:-1][-L:])), self.sequences[u][-1]


@torch.no_grad()
def top20(model, sequences, n_items, batch_size=256):  # [R,20] the best items of each user
    """Full ranking as the S3-Rec family does it: scores to NumPy, seen items overwritten, the best 20 picked
    and sorted.
    """
    model.eval()
    seen = sparse.csr_matrix(
        (
            np.ones(sum(len(s) - 1 for s in sequences)),
            ([u for u, s in enumerate(sequences) for _ in s[:-1]], [i for s in sequences for i in s[:-1]]),
        ),
        (len(sequences), n_items + 2),
    )
    found = []
    for users, items, _ in DataLoader(Histories(sequences), batch_size):
        scores = (model(items)[:, -1] @ model.items.weight.T).numpy()
        scores[:, [0, -1]] = -np.inf
        scores[seen[users.numpy()].toarray() > 0] = -np.inf
        best = np.argpartition(scores, -20)[:, -20:]
        order = np.argsort(-np.take_along_axis(scores, best, 1), 1)
        found.append(np.take_along_axis(best, order, 1))
    return np.concatenate(found)
