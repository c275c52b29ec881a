"""A stored file decides nothing: whatever it names, only what is registered is called, and a damaged one is
never read as another.
"""

import builtins
import contextlib
import copy
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import seqrec_nb.runs as runs
from seqrec_nb.batches import REGISTERED, name_of
from seqrec_nb.data import load, read_dataset, save_dataset
from seqrec_nb.methods.counts import Markov1
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.runs import (
    find_runs,
    load_model,
    load_run,
    load_runs,
    publish,
    published_dir,
    run,
    stored_run,
    study,
)
from seqrec_nb.settings import experiment, plain, registered
from seqrec_nb.settings import made as made_again
from seqrec_nb.train import load_tensors, save_tensors

TINY = dict(epochs=1, dim=4, layers=1, heads=1, max_len=5, batch_size=2048, progress=False)


def said(f, *args, **kw):  # the message of the ValueError that a call raises
    with pytest.raises(ValueError) as e:
        f(*args, **kw)
    return str(e.value)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A folder with one whole run, its weights and the dataset."
    folder = tmp_path_factory.mktemp("whole")
    return run(SASRec, folder=folder, **TINY)


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    "What a crafted file might have called writes down that it was; nothing may."
    called = []
    with contextlib.suppress(LookupError):
        registered("none")  # so that nothing is imported meanwhile, for which Python calls exec itself
    for module, name in (
        (os, "system"),
        (os, "popen"),
        (subprocess, "Popen"),
        (builtins, "print"),
        (builtins, "eval"),
        (builtins, "exec"),
    ):
        real = getattr(module, name)

        def trap(*args, _name=name, _real=real, **kw):
            called.append(_name)
            return _real(*args, **kw)

        monkeypatch.setattr(module, name, trap)
    yield called
    monkeypatch.undo()
    assert not called


def crafted(made, folder, change, tensors=None) -> Path:
    "The run with another description, and a digest that fits it."
    about = copy.deepcopy(load_tensors(made.path)[1])
    change(about)
    path = folder / made.path.name
    save_tensors(path, made.tensors if tensors is None else tensors, about)
    shutil.copy(made.path.with_suffix(".weights"), path.with_suffix(".weights"))
    return path


NAMES = [
    "pydoc:pipepager",
    "os:system",
    "builtins:print",
    "builtins:eval",
    "seqrec_nb.runs:os.system",
    "seqrec_nb.runs:subprocess.Popen",
    "seqrec_nb.batches:Rows.__init__",
    "SASRec.__init__",
    "Rows",
    "UniformNegatives",
    "seqrec_nb.data:fetch",
    "seqrec_nb.data:save_dataset",
    "seqrec_nb.runs:publish",
    "seqrec_nb.nothing:at_all",
    "__main__:os",
    "antigravity:geohash",
    "SASRec(loss='bce').__class__",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["method", "rows", "step"])
def test_names(made, tmp_path, quiet, part, name):
    modules = set(sys.modules)

    def change(about):
        if part == "method":
            about["method"] = name
        else:
            about["training"][part] = {"name": name}
        about["settings"] = {"cmd": f"touch {tmp_path}/PWNED"} if part == "method" else about["settings"]

    path = crafted(made, tmp_path, change)
    text = said(load_model, path)
    assert path.name in text and re.search(
        r"hand it in, load_model\(run, \w+=|Remove it|train it once more", text, re.I
    )
    assert not (tmp_path / "PWNED").exists() and not {"antigravity", "pydoc"} & (set(sys.modules) - modules)


GIVEN = [
    {"phase": {"name": "os:system"}},
    {"phase": {"make": "os:system"}},
    {"phase": {"make": "SASRec", "ds": "x"}},
    {"phase": {"make": "user_rows"}},
    {"phase": {"make": "PGD", "nothing": 1}},
    {"phase": {"make": "PGD", "eta": "x"}},
    {"phase": {"make": "PGD", "name": "PGD"}},
    {"phase": {}},
    {"phase": 3},
    {"phase": ["train"]},
    {"phase": "__import__('os').system('true')"},
    {"ds": 1},
    {"objective": 1},
    {"__class__": 1},
    {"name": 3},
    {"name": None},
    {"name": ["user_rows"]},
    {"name": "user_rows()"},
    {"make": "user_rows"},
    {"make": "user_rows", "name": "user_rows"},
]


@pytest.mark.parametrize("given", GIVEN, ids=range(len(GIVEN)))
def test_settings_of_a_function(made, tmp_path, quiet, given):
    path = crafted(made, tmp_path, put("training", "rows", value={"name": "user_rows"} | given))
    assert path.name in said(load_model, path)
    given = {{"phase": "perturb", "ds": "objective"}.get(k, k): v for k, v in given.items()}
    path = crafted(made, tmp_path, put("training", "step", value={"name": "adversarial_step"} | given))
    assert path.name in said(load_model, path)


@pytest.mark.parametrize("value", ["user_rows", 3, [], {}, True])
@pytest.mark.parametrize("part", ["rows", "step"])
def test_no_functions(made, tmp_path, quiet, part, value):
    path = crafted(made, tmp_path, put("training", part, value=value))
    assert path.name in said(load_model, path)


SETTINGS = [
    {"__class__": "x"},
    {"__init__": 1},
    {"ds": 1},
    {"max_len": 3},
    {"dim": "4"},
    {"dim": True},
    {"dim": 4.5},
    {"dim": None},
    {"dim": [4]},
    {"dim": {"a": 1}},
    {"dim": -1},
    {"dim": 0},
    {"dim": 2**40},
    {"dim": 10**30},
    {"dim": 1e400},
    {"dropout": float("nan")},
    {"dropout": "os:system"},
    {"loss": 3},
    {"loss": "../../x"},
    {"nothing": 1},
    {"": 1},
    {"a b": 1},
    {"heads": 3},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=map(str, SETTINGS))
def test_settings(made, tmp_path, quiet, settings):
    path = crafted(made, tmp_path, lambda about: about["settings"].update(settings))
    assert made.path.stem in said(load_model, path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../data/builtin.txt", "..", "", "builtin\0", "none"])
def test_datasets(made, tmp_path, quiet, name):
    path = crafted(made, tmp_path, lambda about: about.update(dataset=name))
    assert "load_model(run, dataset=ds)" in said(load_model, path)


@pytest.mark.parametrize("start", ["/etc/passwd", "../x", "a/b", "a\\b", "..", "", "x\0", 3, None, ["a"]])
def test_starts(made, tmp_path, quiet, start):
    def change(about):
        about.update(method="S3Rec", settings={"start": start, "loss": "bce"})

    path = crafted(made, tmp_path, change)
    assert path.name in said(load_model, path)
    if isinstance(start, str):
        assert "is no run's name" in said(stored_run, start)


class Itself(SASRec):
    "A method that goes on from the run that STEM names."

    @classmethod
    def make_encoder(cls, ds, config):
        return load_model(stored_run(os.environ["STEM"]), ds).encoder


def test_that_goes_on_from_itself(made, tmp_path, quiet, monkeypatch):
    monkeypatch.setitem(REGISTERED, name_of(Itself), Itself)
    monkeypatch.setenv("STEM", made.path.stem)
    path = crafted(made, tmp_path, lambda about: about.update(method=name_of(Itself)))
    assert "goes on from itself" in said(load_model, path)


def without(k):
    def change(about):
        del about[k]

    return change


def put(*keys, value):
    def change(about):
        for k in keys[:-1]:
            about = about[k]
        about[keys[-1]] = value

    return change


ABOUTS = (
    [
        without(k)
        for k in (
            "kind",
            "method",
            "dataset",
            "data",
            "seed",
            "settings",
            "training",
            "protocol",
            "history",
            "best",
            "seconds",
            "code",
            "device",
            "finished",
        )
    ]
    + [put("kind", value=v) for v in ("weights", 3, None)]
    + [put("method", value=v) for v in (3, None, "", ":", "a:b c", "a b", "x(")]
    + [
        put("training", k, value=v)
        for k in ("epochs", "patience", "batch_size")
        for v in (0, -1, 10**30, 1e400, "1", True, None)
    ]
    + [put("training", "lr", value=v) for v in (0, -1.0, float("inf"), float("nan"), "1", None)]
    + [
        put("training", "nothing", value=1),
        put("training", "layout", value="x"),
        put("protocol", "nothing", value=1),
        put("protocol", "select", value="x"),
        put("protocol", "seen_score", value="nan"),
        put("protocol", value=[]),
        put("training", value=[]),
        put("settings", value=[1]),
        put("seed", value=10**400),
        put("seed", value="0"),
    ]
    + [
        put("history", value=v)
        for v in (
            3,
            [3],
            [{}],
            {"epoch": 3},
            {"epoch": [1], "valid": []},
            [{"epoch": 1, "seconds": "x", "valid": 1.0}],
            [{"epoch": 1, "seconds": 1.0, "valid": {"a": 1}}],
        )
    ]
    + [put("best", value=v) for v in (None, [], {}, {"epoch": 1, "value": float("nan")})]
    + [put("kept", value=v) for v in (3, {"a": 3}, {"a": {"tensors": 3}})]
)


@pytest.mark.parametrize("change", ABOUTS, ids=range(len(ABOUTS)))
def test_descriptions(made, tmp_path, quiet, change):
    path = crafted(made, tmp_path, change)
    assert str(path) in (text := said(load_run, path)) and ("Remove it" in text or "name a file" in text)
    assert path.stem in said(load_model, path)


def test_no_description_and_no_ranks(made, tmp_path, quiet):
    about = load_tensors(made.path)[1]
    for tensors in ({}, {"ranks": torch.zeros(3)}, {"ranks": torch.zeros(2, 2, dtype=torch.int16)}):
        save_tensors(tmp_path / "x.run", tensors, about)
        assert "x.run is no run" in said(load_run, tmp_path / "x.run")
    save_tensors(tmp_path / "x.run", {}, [])
    assert "its description is a list" in said(load_run, tmp_path / "x.run")
    shutil.copy(made.path.with_suffix(".weights"), tmp_path / "x.run")  # weights that pose as a run
    assert "x.run holds no run, but weights" in said(load_run, tmp_path / "x.run")
    path = crafted(made, tmp_path, lambda about: None)
    shutil.copy(made.path, path.with_suffix(".weights"))  # a run that poses as weights
    with pytest.raises(FileNotFoundError, match="are not on this machine"):
        load_model(path)


def test_other_registered_things(made, tmp_path, quiet):
    "What is registered for another purpose makes no model, and says so."
    for name in ("user_rows", "PGD", "plain_step"):
        path = crafted(made, tmp_path, lambda about: about.update(method=name, settings={}))
        assert path.name in said(load_model, path)
    path = crafted(made, tmp_path, put("training", "rows", value={"name": "SASRec"}))
    assert path.name in said(load_model, path)


def test_handed_in(made, tmp_path, monkeypatch):
    "What is not registered is handed in, under its own name."
    path = crafted(made, tmp_path, put("training", "rows", value={"name": "elsewhere:my_rows"}))

    def my_rows(ds, max_len=50):
        return runs.user_rows(ds, max_len=max_len)

    my_rows.__qualname__ = "my_rows"
    assert "load_model(run, rows=...)" in said(load_model, path) and "and this is user_rows" in said(
        load_model, path, rows=runs.user_rows
    )
    assert load_model(path, rows=my_rows).encoder.max_len == 5
    monkeypatch.setitem(REGISTERED, "elsewhere:my_rows", my_rows)
    assert load_model(path).encoder.max_len == 5
    assert "and this is 'os:system'" in said(load_model, path, method="os:system")


def test_every_method_is_registered():
    "Every system's method, rows and step are found by the names that a stored run has for them."
    from seqrec_nb.study.systems import systems

    for dataset in ("builtin", "beauty"):
        for e, _ in systems(dataset).values():
            before = e.after if isinstance(e.after, tuple) else (e.after,)
            for given in (e, *before):
                if given is not None:
                    assert registered(name_of(given.method)) is given.method
                    assert all(made_again(plain(f)) for f in (given.rows, given.training.step))


# Damage


def damaged(content: bytes, rng) -> bytes:
    kind, n = rng.choice(("flip", "cut", "zeros", "other bytes", "twice")), len(content)
    at = rng.randrange(n)
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    size = min(rng.choice((1, 16, 600)), n - at)
    if kind == "twice":
        return content[:at] + content[at : at + size] + content[at:]
    return content[:at] + (bytes(size) if kind == "zeros" else rng.randbytes(size)) + content[at + size :]


def files(made, folder):
    "A file of each kind, how it is read, and what was in it."
    ds = load()
    save_dataset(ds, folder / "x.dataset")
    clean = runs.Run(made.path, {**made.about, "code": "0123456789"}, made.tensors)
    packed = publish(clean, folder / "published")
    shutil.copy(made.path.with_suffix(".weights"), folder / "x.checkpoint")

    def same(a, b):
        return (
            a[0].keys() == b[0].keys() and all(torch.equal(a[0][k], b[0][k]) for k in a[0]) and a[1] == b[1]
        )

    def dataset(path):
        d = read_dataset(path)
        return {"items": d.items, "offsets": d.offsets}, [
            d.name,
            d.item_ids.tolist(),
            d.user_ids.tolist(),
            None if d.item_names is None else d.item_names.tolist(),
        ]

    def of_run(path):
        r = load_run(path)
        return r.tensors, r.about

    return same, [
        (made.path, of_run),
        (packed, of_run),
        (made.path.with_suffix(".weights"), load_tensors),
        (folder / "x.checkpoint", load_tensors),
        (folder / "x.dataset", dataset),
    ]


def test_no_damage_is_read_as_something_else(made, tmp_path):
    rounds = int(os.environ.get("SEQREC_DAMAGES", 60))
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    same, kinds = files(made, tmp_path)
    refused = 0
    for i in range(rounds):
        path, read = kinds[i % len(kinds)]
        whole, content = read(path), path.read_bytes()
        broken = tmp_path / f"broken{path.suffix}"
        broken.write_bytes(damaged(content, rng))
        try:
            found = read(broken)
        except ValueError as e:
            refused += 1
            assert broken.name in str(e)
        else:
            assert same(found, whole), (
                f"a damaged {path.suffix} was read as something else: seed {seed}, round {i}"
            )
    print(f"{refused} of {rounds} refused, the others unchanged in content (seed {seed})")
    assert refused > 0.8 * rounds


def test_damaged_runs_are_left_out(made, tmp_path, capsys, monkeypatch):
    a, b = (run(Markov1, folder=tmp_path, seed=s) for s in (0, 1))
    content = bytearray(a.path.read_bytes())
    content[-7] ^= 1
    a.path.unlink()
    a.path.write_bytes(content)  # another file: the ranks in hand are mapped from the first one
    (tmp_path / "text.run").write_text("no run")
    for f in (
        lambda: [r.path for r in find_runs(tmp_path)],
        lambda: [tmp_path / x for x in load_runs(tmp_path).file],
    ):
        capsys.readouterr()
        assert f() == [b.path]
        assert (
            len(told := capsys.readouterr().err.strip().splitlines()) == 1
            and a.path.name in told[0]
            and "text.run" in told[0]
        )
    monkeypatch.setenv("SEQREC_RUNS", str(tmp_path))
    assert stored_run(b.path.stem).path == b.path and not capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="which is damaged"):
        stored_run(a.path.stem)
    capsys.readouterr()
    again = run(Markov1, folder=tmp_path, seed=0)  # is repeated, and the damaged file stays
    assert (
        again.path == a.path
        and (again.ranks == a.ranks).all()
        and a.path.with_name(a.path.name + ".damaged").read_bytes() == bytes(content)
    )
    assert "is repeated" in capsys.readouterr().err and len(find_runs(tmp_path)) == 2


def test_damaged_weights(made, tmp_path):
    path = crafted(made, tmp_path, lambda about: None)
    weights = path.with_suffix(".weights")
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)
    assert weights.name in (text := said(load_model, path)) and "train it once more: run(SASRec" in text


def test_older_files_get_a_digest(made, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors, about = load_tensors(made.path)
    save_file(tensors, tmp_path / made.path.name, metadata={"about": json.dumps(about)})
    old = load_run(tmp_path / made.path.name)
    assert (old.ranks == made.ranks).all() and old.about == made.about
    runs._store(old.path, old.tensors, old.about)
    with safe_open(old.path, "pt") as f:
        assert len(f.metadata()["sha256"]) == 64
    assert load_run(old.path).about == made.about


def test_published_runs_have_digests():
    "And no file there is damaged."
    for p in published_dir().glob("*.run"):
        raw = p.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        assert "sha256" in json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"], p.name
        load_run(p)


def test_a_bomb_takes_no_memory(tmp_path):
    "In a process of its own, whose peak tells."
    head = json.dumps(
        {
            "__metadata__": {"about": "{}"},
            "ranks": {"dtype": "U8", "shape": [10**9], "data_offsets": [0, 10**9]},
        }
    ).encode()
    with gzip.open(tmp_path / "bomb.run", "wb") as f:
        f.write(len(head).to_bytes(8, "little") + head)
        for _ in range(1000):
            f.write(bytes(10**6))
    code = f"""
import resource
from seqrec_nb.runs import load_run
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try: load_run({str(tmp_path / "bomb.run")!r})
except ValueError as e: print(e)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    out = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        .stdout.strip()
        .splitlines()
    )
    assert "bomb.run" in out[0] and "unpacked it has more than" in out[0] and int(out[1]) < 100, out


# Workers that die


def test_a_study_outlives_a_worker(tmp_path, monkeypatch):
    import killers

    monkeypatch.setenv("KILLERS", str(tmp_path))
    calls = [killers.Always, killers.Once, Markov1, killers.Quiet, experiment(Markov1, seed=1)]
    with pytest.raises(
        RuntimeError, match="1 of 5 runs failed, the others are stored.*ended twice without an answer"
    ):
        study(calls, jobs=2, progress=False, folder=tmp_path / "runs")
    assert sorted(r.about["method"] for r in find_runs(tmp_path / "runs")) == [
        *["Markov1"] * 2,
        "killers:Once",
        "killers:Quiet",
    ]
    assert (tmp_path / "always").read_text() == "xx" and (tmp_path / "once").read_text() == "xx"
    table = study(calls[1:], jobs=2, progress=False, folder=tmp_path / "runs")
    assert list(table.method) == ["Once", "Markov1", "Quiet", "Markov1"]


# Arguments of run that cannot be meant

WRONG = [
    (dict(step=1), "step=1: a function is wanted"),
    (dict(step=None), "step=None: a function is wanted"),
    (dict(rows=True), "rows=True: a function is wanted"),
    (dict(watch=3), "watch=3: a function"),
    (dict(keep="x"), "keep='x': a function"),
    (dict(batch_size=True), "batch_size=True: a whole number"),
    (dict(epochs=True), "epochs=True"),
    (dict(max_len=True), "max_len=True"),
    (dict(max_len=10**9), "100,000 at most"),
    (dict(seen_score=True), "seen_score=True"),
    (dict(seen_score="nan"), "seen_score='nan'"),
    (dict(lr=float("nan")), "lr=nan: a number, above 0"),
    (dict(lr=float("inf")), "lr=inf"),
    (dict(lr=True), "lr=True"),
    (dict(lr=0), "lr=0"),
    (dict(lr=None), "lr=None"),
    (dict(weight_decay=float("nan")), "weight_decay=nan"),
    (dict(weight_decay=float("inf")), "weight_decay=inf"),
    (dict(weight_decay=True), "weight_decay=True"),
    (dict(weight_decay=-1.0), "weight_decay=-1.0"),
    (dict(dim=True), "dim=True: a whole number"),
    (dict(dropout=True), "dropout=True: a number"),
    (dict(dropout=float("nan")), "dropout=nan"),
    (dict(dim=4.5), "dim=4.5"),
    (dict(loss=True), "loss=True: one of ce, bce"),
    (dict(seed=True), "seed=True"),
    (dict(seed=2**70), "seed="),
    (dict(select=5), "select=5: a text"),
    (dict(device=None), "device=None: 'cpu' or 'cuda'"),
    (dict(layout="x"), "layout='x'"),
    (dict(training=3), "training=3: a TrainingConfig"),
    (dict(protocol={}), "protocol={}: a Protocol"),
]


@pytest.mark.parametrize("wrong, text", WRONG, ids=[str(w) for w, _ in WRONG])
def test_arguments(tmp_path, wrong, text):
    with pytest.raises((TypeError, ValueError)) as e:
        run(SASRec, folder=tmp_path, **{**TINY, **wrong})
    assert text in str(e.value) and "\n" not in str(e.value) and not list(tmp_path.iterdir())


def test_names_and_folders(tmp_path):
    from dataclasses import replace

    assert "give the dataset a shorter name" in said(
        run, Markov1, replace(load(), name="x" * 300), folder=tmp_path
    )
    (tmp_path / "file").write_text("no folder")
    assert "name another folder" in said(
        run, SASRec, folder=tmp_path / "file", **TINY
    ) and "name another folder" in said(run, SASRec, folder=tmp_path / "file" / "below", **TINY)
    long = tmp_path / "long"
    for name in ("x" * 120, "ü" * 60, "a/../../b", ".."):
        r = run(Markov1, replace(load(), name=name), folder=long)
        assert r.path.parent == long and r.path.exists()
