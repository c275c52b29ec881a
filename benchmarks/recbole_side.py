"""RecBole 1.2.1's SASRec with cross-entropy on prefixes, and its full ranking: its own data, model and
evaluation, as shipped but for anomaly detection.

Runs in the environment that `recbole.sh` makes, and imports nothing of this library:  recbole_side.py
train|rank SEQUENCES
"""

import os
import sys
from logging import disable
from pathlib import Path

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from side import Side, serve

SETTINGS = dict(
    loss_type="CE",
    train_neg_sample_args=None,
    MAX_ITEM_LIST_LENGTH=50,
    hidden_size=64,
    inner_size=256,
    n_layers=2,
    n_heads=2,
    hidden_dropout_prob=0.5,
    attn_dropout_prob=0.5,
    train_batch_size=256,
    eval_batch_size=256,
    learning_rate=1e-3,
    eval_args=dict(split=dict(LS="valid_and_test"), order="TO", mode="full", group_by=None),
    metrics=["Hit", "NDCG"],
    topk=[5, 10, 20],
    valid_metric="NDCG@20",
    load_col=dict(inter=["user_id", "item_id", "timestamp"]),
    use_gpu=False,
    show_progress=False,
    state="ERROR",
)


def make():
    what, sequences = sys.argv[1:]
    folder = Path(sequences).parent / "ours"
    folder.mkdir()  # whoever made SEQUENCES removes it
    with open(folder / "ours.inter", "w") as f:
        print("user_id:token\titem_id:token\ttimestamp:float", file=f)
        for u, line in enumerate(open(sequences)):
            for t, i in enumerate(line.split()):
                print(f"u{u}\ti{i}\t{t}", file=f)
    sys.argv = sys.argv[:1]  # RecBole reads it too
    os.chdir(folder)  # and writes logs to where it stands
    config = Config(
        model="SASRec",
        dataset="ours",
        config_dict=SETTINGS | dict(data_path=str(folder.parent), checkpoint_dir=str(folder)),
    )
    init_seed(0, True)
    train, valid, test = data_preparation(config, dataset := create_dataset(config))
    model = get_model("SASRec")(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
    torch.autograd.set_detect_anomaly(False)  # importing its models turns it on

    def steps():
        model.train()
        while True:
            for batch in train:  # the body of its trainer's loop
                trainer.optimizer.zero_grad()
                loss = model.calculate_loss(batch)
                loss.item()  # which it adds up
                trainer._check_nan(loss)
                loss.backward()
                trainer.optimizer.step()
                yield

    def rankings():
        while True:
            yield trainer.evaluate(test, load_best_model=False, show_progress=False)

    if what == "rank":
        return Side(1, len(test.dataset), rankings())
    return Side(len(train), int(train.dataset.inter_feat["item_length"].sum()), steps())


if __name__ == "__main__":
    disable()
    serve(make)
