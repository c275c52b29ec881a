"""Ten thousand odd inputs of six kinds, made from their numbers. Each gives a right answer, or a clear error
that this library raises; none is obscure, and none silent. In each run 50 of a kind, in the slow suite all:
`pytest -m slow -s tests/test_malformed.py` prints how many were refused.
"""

import contextlib
import csv
import io
import json
import math
import random
import warnings

import pytest
import torch
from test_bad_input import clear_error, test_tables_at_random
from test_crafted import damaged

from seqrec_nb.batches import REGISTERED
from seqrec_nb.data import from_frame, load, read_dataset, save_dataset
from seqrec_nb.methods.counts import DecayedTransitions
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.production.artefact import load_artefact, save_artefact
from seqrec_nb.production.recommend import recommend
from seqrec_nb.production.tables import read_table
from seqrec_nb.runs import load_run, run
from seqrec_nb.settings import Config, all_methods, experiment
from seqrec_nb.train import load_tensors

FEW, ALL = 50, 1_700  # cases of each kind
ODD = (
    None,
    True,
    0,
    -1,
    1,
    3,
    10**9,
    10**30,
    0.5,
    -0.5,
    1.5,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "x",
    "3",
    b"3",
)
ODD += ([], [1], {}, {"a": 1}, (), len, object, 1j, set(), range(3))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "The built-in dataset, a counter, and a file of each kind with what it holds."
    folder, ds = tmp_path_factory.mktemp("malformed"), load()
    made = run(SASRec, folder=folder, epochs=1, dim=4, layers=1, heads=1, max_len=5, progress=False)
    artefact = save_artefact(made, ds, folder / "x.seqrec")
    save_dataset(ds, folder / "x.dataset")
    weights = made.path.with_suffix(".weights")
    readers = [(made.path, load_run), (weights, load_tensors), (folder / "x.dataset", read_dataset)]
    return {
        "ds": ds,
        "counter": DecayedTransitions(ds),
        "folder": folder,
        "artefact": load_artefact(artefact),
        "files": [*readers, (artefact, load_artefact)],
    }


def outcome(call, *args, **kw):  # what came out, or None where it was refused clearly
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*args, **kw)
    except Exception:
        clear_error(call, *args, **kw)
    return None


def a_table(shop, r) -> bool:  # whether it was refused
    "A CSV file in which bytes, fields or whole lines were changed."
    lines = [["user", "item", "time"]]
    lines += [[f"u{r.randrange(9)}", f"i{r.randrange(7)}", str(r.randrange(99))] for _ in range(80)]
    for _ in range(r.randrange(4)):
        line = r.choice(lines)
        line[r.randrange(len(line))] = r.choice(("", "x", "nan", "-", "1e400", '"', "ü", "2024-01-01", " "))
        if r.random() < 0.2:
            line.append("more")
    text = "\n".join(
        r.choice((",", ",", ",", ";")).join(x) if i else ",".join(x) for i, x in enumerate(lines)
    )
    if r.random() < 0.8:
        text = "\n".join(",".join(x) for x in lines)
    content = text.encode()
    if r.random() < 0.5:
        content = damaged(content, r)
    path = shop["folder"] / "odd.csv"
    path.write_bytes(content)

    def read():
        table = read_table(path, user="user", item="item", time="time", separator=",")
        return from_frame(table, k_core=3, item_core=1, duplicates="keep", ties="file order")

    ds = outcome(read)
    if ds is None:
        return True
    fields = {x for line in csv.reader(io.StringIO(content.decode().lstrip("\ufeff"))) for x in line}
    assert set(ds.item_ids[1:]) <= fields and set(ds.user_ids) <= fields
    return False


def a_frame(shop, r) -> bool:
    test_tables_at_random(r.randrange(10**9))  # which compares with plain Python, or asks for a clear error
    return False


def a_history(shop, r) -> bool:
    "Ids among which some are odd, and odd numbers of items to recommend."
    ds, history = shop["ds"], [r.randint(1, 1100) for _ in range(r.randrange(6))]
    for _ in range(r.randrange(3)):
        history.insert(r.randrange(len(history) + 1), r.choice(ODD))
    asked = r.choice((history, history, history, tuple(history), r.choice(ODD)))
    k = r.choice((1, 5, 5, 5, 5, r.choice(ODD)))
    found = outcome(recommend, shop["counter"], ds, asked, k=k)
    if found is None:
        return True
    items = found["item"].tolist()
    assert len(set(items)) == len(items) == min(k, len(items)) and set(items) <= set(range(1, 1101))
    assert not set(items) & {x for x in asked if type(x) is int}
    return False


def a_setting(shop, r) -> bool:
    "Some setting of some method, with an odd value."
    methods = [m for m in REGISTERED.values() if isinstance(m, type) and hasattr(m, "Config")]
    method = r.choice(
        sorted((m for m in methods if issubclass(m.Config, Config)), key=lambda m: m.__qualname__)
    )
    names = sorted(method.Config.__dataclass_fields__)
    name, value = r.choice([*names, "lr", "batch_size", "epochs", "patience", "select"]), r.choice(ODD)
    e = outcome(experiment, method, **{name: value})
    if e is None:
        return True
    kept = next(getattr(o, name) for o in (e.config, e.training, e.protocol) if hasattr(o, name))
    same = kept == value or kept is value or isinstance(kept, tuple) or kept == float(value)
    assert same, (method.__name__, name, value, kept)
    return False


def content_of(found) -> list:
    "What a file of any kind held, to be compared."
    if isinstance(found, tuple):  # tensors, and what is said of them
        return [found[1], *({n: x.tolist() for n, x in found[0].items()}.items())]
    if hasattr(found, "recommend"):
        return [found.about, found.recommend([5, 9, 2], k=20).to_dict()]
    if hasattr(found, "ranks"):
        return [found.about, found.ranks.tolist()]
    return [found.name, found.items.tolist(), found.offsets.tolist(), list(found.item_ids)]


def a_file(shop, r) -> bool:
    "A file of a run, of weights, of a dataset or of a model, with some bytes changed."
    path, read = r.choice(shop["files"])
    broken = shop["folder"] / f"broken{path.suffix}"
    broken.write_bytes(damaged(path.read_bytes(), r))
    try:
        found = read(broken)
    except ValueError as e:
        assert broken.name in str(e) and "\n" not in str(e)
        return True
    assert content_of(found) == content_of(read(path))
    return False


def a_request(shop, r) -> bool:
    "A body for the service that is nearly one, or none at all."
    body = {"history": [r.randint(1, 1100) for _ in range(r.randrange(5))], "k": r.randint(1, 9)}
    odd = [x for x in ODD if not isinstance(x, (bytes, complex, set, range, tuple)) and not callable(x)]
    for _ in range(r.randrange(3)):
        name = r.choice(
            ("history", "histories", "k", "candidates", "exclude", "repeat", "unknown", "nearest", "z")
        )
        body[name] = r.choice((*odd, [r.choice(odd) for _ in range(3)], [[r.choice(odd)]]))
    content = json.dumps(body).encode()
    if r.random() < 0.3:
        content = damaged(content, r)
    answer = shop["client"].post("/recommend", content=content, headers={"content-type": "application/json"})
    said = answer.json()
    if answer.status_code != 200:
        assert answer.status_code in (413, 422) and 5 < len(said["error"]) < 1000, (content, answer.text)
        return True
    lists = said["recommendations"]
    for found in lists if lists and isinstance(lists[0], list) else [lists]:
        assert all(1 <= x["item"] <= 1100 and math.isfinite(x["score"]) for x in found)
    return False


KINDS = {f.__name__: f for f in (a_table, a_frame, a_history, a_setting, a_file, a_request)}


def tried(kind: str, shop: dict, numbers) -> int:  # how many were refused
    refused = 0
    for n in numbers:
        try:
            refused += KINDS[kind](shop, random.Random(f"{kind} {n}"))
        except Exception as e:
            raise AssertionError(f"{kind}, case {n}: {type(e).__name__}: {e}") from e
    return refused


@pytest.fixture(scope="module")
def client(shop):
    pytest.importorskip("fastapi", reason="the service is an extra: pip install 'seqrec_nb[serve]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient

        from seqrec_nb.production.serve import service

        with TestClient(service(shop["artefact"]), raise_server_exceptions=False) as c:
            shop["client"] = c
            yield c


@pytest.mark.parametrize("kind", KINDS)
def test_some(shop, client, kind):
    torch.set_num_threads(1)
    all_methods()
    tried(kind, shop, range(FEW))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all(shop, client, kind):
    torch.set_num_threads(1)
    all_methods()
    print(f"\n{kind}: {tried(kind, shop, range(ALL)):,} of {ALL:,} refused")
