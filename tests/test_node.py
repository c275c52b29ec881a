"""The playgrounds that are computed on the page: their JavaScript draws and says what Python does."""

import json
import math
import random
import shutil
import subprocess
from pathlib import Path

import pytest

import seqrec_nb.play as room
from seqrec_nb.play.base import playgrounds
from seqrec_nb.play.replay import computed, state_of

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    not NODE,
    reason="the JavaScript of the playgrounds was not compared with Python: node is not installed (Debian:"
    " apt-get install nodejs)",
)
SCRIPTED = {name: p for name, p in playgrounds().items() if p.script}
PROGRAM = """
globalThis.window ??= {};
const jobs = JSON.parse(require("fs").readFileSync(0, "utf8"));
const made = Object.entries(jobs).map(([name, { file, data, samples }]) => {
  require(file);
  return [name, samples.map((values) => window.seqrecComputed[name](values, data))];
});
console.log(JSON.stringify(Object.fromEntries(made)));
"""


def samples(p, least=240):
    "Values of all controls: as at first, each preset's, and mixtures in which every value of each occurs."
    n, draw = max(least, *(len(c.values) for c in p.controls.values())), random.Random(0)
    columns = [[c.values[i % len(c.values)] for i in range(n)] for c in p.controls.values()]
    for column in columns:
        draw.shuffle(column)
    mixed = [dict(zip(p.controls, row)) for row in zip(*columns)]
    return [{**p.first, **values} for values in ({}, *p.presets.values(), *mixed)]


@pytest.fixture(scope="module")
def by_node():
    "name -> what its script computes for each sample, in one process"
    folder = Path(room.__path__[0])
    jobs = {
        name: {"file": str(folder / p.script), "data": computed(p)["data"], "samples": samples(p)}
        for name, p in SCRIPTED.items()
    }
    done = subprocess.run([NODE, "-e", PROGRAM], input=json.dumps(jobs), capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def changed(base, changes):
    "A figure after some changes, as `replay.js` makes them."
    made = json.loads(json.dumps(base))
    for path, value in changes:
        part = made
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
    return made


def differences(a, b, at=""):
    "Where two figures differ: numbers by more than 1%, since Python's are rounded to three digits."
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for k in a for d in differences(a[k], b[k], f"{at}.{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{at}.{i}")]
    if type(a) in (int, float) and type(b) in (int, float):
        return [] if math.isclose(a, b, rel_tol=1e-2, abs_tol=1e-9) else [f"{at}: {a} and {b}"]
    return [] if type(a) is type(b) and a == b else [f"{at}: {a} and {b}"]


def test_differences_are_found():
    one = {"data": [{"y": [1.0, 2], "x": []}], "on": True}
    assert not differences(one, {"data": [{"y": [1.004, 2.0], "x": []}], "on": True})
    wrong = {"data": [{"y": [1.02, 2], "x": []}], "on": 1}
    assert differences(one, wrong) == [".data.0.y.0: 1.0 and 1.02", ".on: True and 1"]
    assert differences(one, {"data": [{"y": [1.0], "x": []}], "on": True})
    assert changed(one, [[["data", 0, "y"], [3]]])["data"][0]["y"] == [3] and one["data"][0]["y"] == [1.0, 2]


@pytest.mark.parametrize("name", SCRIPTED)
def test_javascript_computes_what_python_does(by_node, name):
    p = SCRIPTED[name]
    base, tried = computed(p)["base"], samples(p)
    assert len(by_node[name]) == len(tried) >= 200
    for values, made in zip(tried, by_node[name]):
        figure, sentence = state_of(p, values)
        assert made["sentence"] == sentence, values
        drawn = changed(base, made["changes"])
        assert not differences(json.loads(json.dumps(figure)), drawn), values
