"""Executes notebooks and keeps their outputs, or says where stored outputs differ from fresh ones.

    python tools/refresh.py 21 40          # execute these notebooks and store their outputs (all without an
    argument)
    python tools/refresh.py --slow 09      # with the cells marked slow
    python tools/refresh.py --check 21 40  # execute copies, change nothing, list the differences; exit status
    1 if any

A picture is compared by what it plots: while a notebook is executed here, each matplotlib figure leaves a
summary of
its data in the metadata of its output. Seconds, dates, devices and code versions are left out of every
comparison.
"""

import argparse
import base64
import copy
import io
import os
import re
import sys
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors import ExecutePreprocessor
from PIL import Image

ROOT = Path(__file__).parent.parent
PLOTTED = "plotted"  # key of the metadata of an output

# Runs in the notebook's kernel before its first cell.
BEFORE = """
import sys
sys.path.insert(0, {tools!r})
import refresh_kernel
refresh_kernel.prepare()
del sys.path[0], sys, refresh_kernel
"""
# What may differ between two executions of the same code.
VARIES = [
    (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\b", "<date>"),
    (r"\b[\d.,]+(?:e-?\d+)? ?(?:s|ms|µs|us|min|seconds|minutes)\b", "<time>"),
    (r"\b[0-9a-f]{10}(?:\+[0-9a-f]{6})?\b", "<code>"),
    (r"\bat 0x[0-9a-f]+", "at <address>"),
    (r"(?:/[\w.-]+)*/tmp[\w./-]*", "<folder>"),
]
COLUMNS = re.compile(r"second|s/epoch|ms\b|\bs\b|time|code|device|file|finished", re.I)  # of a table


class Table(HTMLParser):
    "The cells of an HTML table, row by row."

    def __init__(self, html):
        super().__init__()
        self.rows, self.open = [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.open = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.open = False

    def handle_data(self, data):
        if self.open:
            self.rows[-1][-1] += data


def kept_columns(rows):
    """The table without columns that name times, code or files. They are found from the right, where rows
    align.
    """
    if not rows:
        return rows
    drop = {i - len(rows[0]) for i, name in enumerate(rows[0]) if COLUMNS.search(name)}
    return [[cell for i, cell in enumerate(row) if i - len(row) not in drop] for row in rows]


def same_text(a, b, relative=1e-3):
    "Whether two texts agree but for what varies, numbers to a thousandth or a unit of their last digit."
    for pattern, to in VARIES:
        a, b = re.sub(pattern, to, a), re.sub(pattern, to, b)
    number = r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
    if re.sub(number, "#", a).split() != re.sub(number, "#", b).split():
        return False
    for x, y in zip(re.findall(number, a), re.findall(number, b)):
        digit = 10.0 ** -len(x.partition("e")[0].partition(".")[2])
        p, q = float(x.replace(",", "")), float(y.replace(",", ""))
        whole = "." not in x and "e" not in x
        if abs(p - q) > (0 if whole else max(1.01 * digit, relative * abs(p))):
            return False
    return True


def same_numbers(a, b, relative=1e-3):
    "Whether two summaries of a figure agree."
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) <= relative * max(abs(a), abs(b), 1e-6)
    if isinstance(a, str):
        return isinstance(b, str) and same_text(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same_numbers(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same_numbers, a, b))
    return a == b


def plotted(output):
    "The summary of a figure that is stored with an output, or None."
    return next(
        (m[PLOTTED] for m in output.get("metadata", {}).values() if isinstance(m, dict) and PLOTTED in m),
        None,
    )


def difference(old, new):
    "What differs between two outputs, in a few words, or nothing."
    if old is None or new is None:
        return "an output more, or less"
    if old.output_type != new.output_type:
        return f"{old.output_type} and {new.output_type}"
    if old.output_type == "stream":
        return (
            ""
            if old.name == "stderr" or same_text(old.text, new.text)
            else f"text: {old.text[:80]!r}, now {new.text[:80]!r}"
        )
    if old.output_type == "error":
        return "an error is stored"
    if any(k.startswith("image/") for k in {**old.data, **new.data}):
        if plotted(old) is None:
            return "a figure without its data: refresh the notebook"
        return "" if same_numbers(plotted(old), plotted(new)) else "the data of a figure"
    for kind in ("text/html", "text/markdown", "text/plain"):
        if kind not in old.data or kind not in new.data:
            continue
        if kind == "text/html" and "<table" in old.data[kind]:
            a, b = (kept_columns(Table(o.data[kind]).rows) for o in (old, new))
            rows = [
                i
                for i, (x, y) in enumerate(zip_longest(a, b))
                if not same_text(" | ".join(x or []), " | ".join(y or []))
            ]
            return f"row {rows[0]} of a table: {a[rows[0] :][:1]}, now {b[rows[0] :][:1]}" if rows else ""
        return (
            ""
            if same_text(old.data[kind], new.data[kind])
            else f"{old.data[kind][:120]!r}, now {new.data[kind][:120]!r}"
        )
    return "" if old.data.keys() == new.data.keys() else f"{', '.join(old.data)}, now {', '.join(new.data)}"


def flags(cell):
    return re.findall(r"^#\| *([\w-]+) *$", cell.source, re.M) if cell.cell_type == "code" else []


def with_palette(png: str) -> str:  # base64, as notebooks hold it
    "A picture in its 256 most used colours, a third of the size; as it is where that does not help."
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "RGBA" and picture.getextrema()[3][0] < 255:
        return png
    out = io.BytesIO()
    colours = picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colours.save(out, "png", optimize=True, dpi=picture.info.get("dpi", (200, 200)))
    return min(base64.b64encode(out.getvalue()).decode(), png, key=len)


def slim(nb):
    "Its pictures with a palette, in place."
    for output in (o for c in nb.cells if c.cell_type == "code" for o in c.outputs):
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = with_palette(output.data["image/png"])
    return nb


def execute(path, slow=False, timeout=3600):
    "A notebook with fresh outputs; cells marked slow or cuda keep what they have unless `slow`."
    nb = nbformat.read(path, as_version=4)
    skip = {"cuda"} if slow else {"cuda", "slow"}
    run = copy.deepcopy(nb)
    kept = [i for i, c in enumerate(nb.cells) if not (c.cell_type == "code" and skip & set(flags(c)))]
    # figures are to be shown as in JupyterLab
    for name in ("MPLBACKEND", "IN_TEST"):
        os.environ.pop(name, None)
    first = nbformat.v4.new_code_cell(BEFORE.format(tools=str(ROOT / "tools")))
    run.cells = [first, *(run.cells[i] for i in kept)]
    ExecutePreprocessor(timeout=timeout, kernel_name="python3").preprocess(
        run, {"metadata": {"path": str(path.parent)}}
    )
    for i, c in zip(kept, run.cells[1:]):
        if c.cell_type == "code":
            nb.cells[i].outputs = c.outputs
    return slim(nb)


def differences(path, **kw):
    "Where the stored outputs of a notebook differ from fresh ones: (cell id, what) for each."
    old = nbformat.read(path, as_version=4)
    try:
        new = execute(path, **kw)
    except CellExecutionError as e:
        return [("", f"it stopped: {str(e).strip().splitlines()[-1]}")]
    found = []
    for a, b in zip(old.cells, new.cells):
        if a.cell_type != "code":
            continue
        no_errors = [
            [o for o in c.outputs if not (o.output_type == "stream" and o.name == "stderr")] for c in (a, b)
        ]
        found += [(a.id, d) for d in (difference(x, y) for x, y in zip_longest(*no_errors)) if d]
    return found


def notebooks(names):
    every = sorted((ROOT / "nbs").glob("*.ipynb"))
    chosen = [p for p in every if not names or any(p.name.startswith(n) for n in names)]
    if not chosen:
        raise SystemExit(f"no notebook begins with {', '.join(names)}")
    return chosen


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("names", nargs="*", help="beginnings of notebooks' names, such as 21; default: all")
    ask.add_argument("--check", action="store_true", help="change nothing, list what differs")
    ask.add_argument("--slow", action="store_true", help="execute cells marked slow, too")
    given = ask.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    stale = 0
    for path in notebooks(given.names):
        if given.check:
            found = differences(path, slow=given.slow)
            stale += len(found)
            print(
                path.name,
                "is fresh" if not found else "".join(f"\n  {cell}: {what}" for cell, what in found),
                flush=True,
            )
            continue
        try:
            nb = execute(path, slow=given.slow)
        except CellExecutionError as e:  # the others are refreshed all the same
            print(f"{path.name} stopped: {str(e).strip()}", file=sys.stderr, flush=True)
            stale += 1
            continue
        # it may have been edited meanwhile: outputs go where the text is the same
        stored = nbformat.read(path, as_version=4)
        fresh = {c.id: c for c in nb.cells if c.cell_type == "code"}
        for c in stored.cells:
            if c.cell_type == "code" and c.id in fresh and fresh[c.id].source == c.source:
                c.outputs = fresh[c.id].outputs
        nbformat.write(stored, path)
        print(path.name, flush=True)
    if not given.check:
        from nbdev.clean import nbdev_clean

        nbdev_clean.__wrapped__()
    sys.exit(stale > 0)


if __name__ == "__main__":
    main()
