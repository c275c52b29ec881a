"""SASRec as papers' code is usually written: the other side of the comparison.

A DataLoader that builds one padded row at a time in Python, negatives drawn until one fits, torch's own Transformer layer over all 50
slots, the loss over the padded rectangle, Adam as it comes. Nothing here is slow on purpose.
"""
import random

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    def __init__(self, sequences, n_items, max_len, negatives):
        self.sequences, self.n_items, self.max_len, self.negatives = sequences, n_items, max_len, negatives
    def __len__(self): return len(self.sequences)
    def pad(self, items): return [0] * (self.max_len - len(items)) + items[-self.max_len:]
    def __getitem__(self, u):
        s = self.sequences[u]
        items, targets, had, drawn = s[:-3], s[1:-2], set(s), []
        for _ in targets if self.negatives else ():
            n = random.randint(1, self.n_items)
            while n in had: n = random.randint(1, self.n_items)
            drawn.append(n)
        return torch.tensor(self.pad(items)), torch.tensor(self.pad(targets)), torch.tensor(self.pad(drawn))


class Model(nn.Module):
    def __init__(self, n_items, max_len=50, dim=64, layers=2, heads=2, p=.5):
        super().__init__()
        self.items, self.slots = nn.Embedding(n_items + 2, dim, padding_idx=0), nn.Embedding(max_len, dim)
        self.norm, self.drop = nn.LayerNorm(dim, eps=1e-12), nn.Dropout(p)
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, p, "gelu", layer_norm_eps=1e-12, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        for m in self.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)): nn.init.normal_(m.weight, std=.02)
    def forward(self, items):
        x = self.drop(self.norm(self.items(items) + self.slots.weight))
        L = items.shape[1]
        causal = torch.ones(L, L, dtype=torch.bool, device=items.device).triu(1)
        blocked = causal | (items == 0)[:, None, :]
        mask = torch.zeros(blocked.shape).masked_fill(blocked, -10000.)
        return self.layers(x, mask.repeat_interleave(self.layers.layers[0].self_attn.num_heads, 0))


def bce(h, table, target, negative):
    real = (target > 0).float()
    pos, neg = (h * table[target]).sum(-1), (h * table[negative]).sum(-1)
    loss = -torch.log(torch.sigmoid(pos) + 1e-24) - torch.log(1 - torch.sigmoid(neg) + 1e-24)
    return (loss * real).sum() / real.sum()

def ce(h, table, target, negative):
    return F.cross_entropy((h @ table.T).flatten(0, 1), target.flatten(), ignore_index=0)


def steps(sequences, n_items, loss, batch_size=256):
    "A generator: each `next` is one training step."
    model = Model(n_items)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        for items, target, negative in DataLoader(Rows(sequences, n_items, 50, loss is bce), batch_size, shuffle=True):
            opt.zero_grad()
            loss(model(items), model.items.weight, target, negative).backward()
            opt.step()
            yield
