"Libraries that do one thing well, as a check on ours."

import pytest
import torch

from seqrec_nb.batches import user_rows
from seqrec_nb.data import load
from seqrec_nb.evaluate import metrics, ranks
from seqrec_nb.nn.encoders import Transformer
from seqrec_nb.train import NextItem


@pytest.mark.slow  # numba compiles ranx anew in each process
def test_metrics_agree_with_ranx():
    from ranx import Qrels, Run
    from ranx import evaluate as ranx_evaluate

    ds = load()
    test = user_rows(ds, "test")
    torch.manual_seed(0)
    model = NextItem(Transformer(ds.n_items)).eval()
    with torch.no_grad():
        scores = model.score(test.batch()).scatter(1, test.seen(), float("-inf"))
    top = scores[:, 1:].topk(20)
    qrels = Qrels({str(u): {str(ds[u][-1].item()): 1} for u in range(len(ds))})
    run = Run(
        {
            str(u): {str(i + 1): float(s) for i, s in zip(top.indices[u].tolist(), top.values[u].tolist())}
            for u in range(len(ds))
        }
    )
    theirs = ranx_evaluate(qrels, run, ["hit_rate@10", "ndcg@10", "hit_rate@20", "ndcg@20"])
    ours = metrics(ranks(model, test), (10, 20))
    for a, b in zip(("HR@10", "NDCG@10", "HR@20", "NDCG@20"), theirs.values()):
        assert abs(ours[a] - b) < 1e-9, (a, ours, theirs)
    assert ours["HR@20"] > 0
