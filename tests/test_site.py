"""The site's sources: the sidebar is whole, the filter takes every notebook, links lead somewhere. Rendered
where Quarto is.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import after_render
import pytest
import yaml
from nbdev.config import get_config
from nbdev.doclinks import nbglob

from seqrec_nb._quarto_filter import (
    filter_text,
    fold,
    in_lab,
    last_comments,
    numbered,
    numbers_right,
    one_line,
    one_link,
    opened_in,
    own_table,
    page_output,
    plain_signature,
    split_title,
    taught,
)

ROOT = Path(__file__).parent.parent
site = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
notebooks = sorted(nbglob(as_path=True), key=lambda p: (p.stem != "index", p.name))
each = pytest.mark.parametrize("nb", notebooks, ids=lambda nb: nb.stem)
NBDEV = {
    "default_exp",
    "export",
    "exports",
    "exporti",
    "hide",
    "hide_line",
    "filter_stream",
    "exec_doc",
} | set(get_config().tst_flags.split())
QUARTO = {
    "eval",
    "echo",
    "output",
    "include",
    "warning",
    "label",
    "code-fold",
    "code-summary",
    "column",
    "layout-ncol",
    "fig-cap",
    "fig-subcap",
    "fig-alt",
    "fig-align",
    "tbl-cap",
}


def flat(contents):
    for o in contents:
        if isinstance(o, dict):
            yield from flat(o["contents"])
        else:
            yield o


@lru_cache(None)
def page(nb):
    return json.loads(filter_text(nb.read_text(encoding="utf-8")))


def text(o):
    return "".join(o) if isinstance(o, list) else o


def prose(nb):
    "The page's Markdown, written or shown, without code"
    res = []
    for c in page(nb)["cells"]:
        if c["cell_type"] == "markdown":
            res.append(text(c["source"]))
        res += [
            text(o["data"]["text/markdown"])
            for o in c.get("outputs", [])
            if "text/markdown" in o.get("data", {})
        ]
    return re.sub(r"^(```+|~~~+).*?^\1", "", "\n\n".join(res), flags=re.M | re.S)


@lru_cache(None)
def anchors(nb):
    md, res = prose(nb), set()
    for h in re.findall(r"^#+ +(.+?)(?: *\{[^}]*\})? *$", md, re.M):  # as Pandoc names headings
        h = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h).lower()
        res.add(
            re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", re.sub(r"[^\w\s.-]", "", h).strip())) or "section"
        )
    code = "\n".join(text(c["source"]) for c in page(nb)["cells"])
    return (
        res
        | set(re.findall(r"\{#([\w:.-]+)", md))
        | set(re.findall(r"#\| label: *([\w-]+)", code))
        | set(re.findall(r'\bid="([^"]+)"', md))
    )


def test_sidebar_and_render_list_are_the_notebooks():
    want = [p.relative_to(ROOT).as_posix() if p.is_absolute() else p.as_posix() for p in notebooks]
    assert list(flat(site["website"]["sidebar"]["contents"])) == want
    rendered = {p.relative_to(ROOT).as_posix() for o in site["project"]["render"] for p in ROOT.glob(o)}
    assert rendered == {"404.qmd", *want}


def test_llms_txt_lists_every_page(tmp_path, monkeypatch):
    lines = after_render.llms().splitlines()
    assert lines[0] == "# seqrec_nb" and lines[2].startswith("> ")
    listed = [m for line in lines if (m := re.fullmatch(r"- \[(.+)\]\((.+)\): (.+\.|.+\?)", line))]
    assert len(listed) == len(notebooks) == sum(line.startswith("- ") for line in lines)
    assert [Path(m[2]).stem for m in listed] == [nb.stem for nb in notebooks]
    (tmp_path / "nbs").mkdir()
    monkeypatch.setenv("QUARTO_PROJECT_OUTPUT_DIR", str(tmp_path))
    after_render.main()
    assert (tmp_path / "llms.txt").read_text(encoding="utf-8").splitlines() == lines
    assert (tmp_path / "nbs" / "plotly.min.js").stat().st_size > 1e6


@each
def test_directives(nb):
    "A misspelt directive does nothing and says nothing."
    found = []
    for c in json.loads(nb.read_text(encoding="utf-8"))["cells"]:
        code = False
        for line in text(c["source"]).splitlines() if c["cell_type"] == "code" else []:
            if re.match(r"#\|   ", line):  # of a text that goes on
                continue
            m = re.match(r"\s*#\s*\|\s*([\w-]+)(:?)", line)
            known = m and m[1] in (QUARTO if m[2] else NBDEV)
            if m and (code or not known):
                found.append(line)
            code = code or bool(line.strip() and not m)
    assert not found, "unknown, or not at the top of its cell"


@each
def test_page(nb):
    cells = page(nb)["cells"]
    assert text(cells[0]["source"]).startswith("---") and "title:" in text(cells[0]["source"]), (
        "no H1 in the first cell"
    )
    for c in cells:
        stray = [
            o for o in re.findall(r"^\s*#\|\s*(.*)", text(c["source"]), re.M) if o.split(":")[0] not in QUARTO
        ]
        assert not (c["cell_type"] == "code" and stray)
        assert all(o["output_type"] != "error" for o in c.get("outputs", []))


def cells_of(nb):
    return json.loads(nb.read_text(encoding="utf-8"))["cells"]


def words(md):
    """The text of Markdown without its markup, links and spaces, in which an opening and its page can be
    compared
    """
    md = re.sub(r"\]\([^)]*\)", "]", md)
    return re.sub(r"\W+", " ", md).strip()


@each
def test_every_paragraph_is_on_the_page(nb):
    there = words(
        "\n\n".join(text(c["source"]) for c in page(nb)["cells"] if c["cell_type"] in ("markdown", "raw"))
    )
    lost = []
    for c in cells_of(nb):
        if c["cell_type"] != "markdown":
            continue
        paragraphs = re.split(r"\n\s*\n", numbered(text(c["source"])))
        lost += [
            p
            for p in paragraphs
            if words(p) and words(re.sub(r"^(?:# .*\n?|> )", "", p, flags=re.M)) not in there
        ]
    assert not lost, f"{len(lost)} paragraphs are lost, the first: {lost[0][:200]}"


@each
def test_every_equation_number_is_on_the_page(nb):
    tags = [
        t
        for c in cells_of(nb)
        if c["cell_type"] == "markdown"
        for t in re.findall(r"\\tag\*?\{([^}]*)\}", text(c["source"]))
    ]
    shown = "\n".join(text(c["source"]) for c in page(nb)["cells"] if c["cell_type"] == "markdown")
    assert "\\tag" not in shown
    assert not [t for t in tags if rf"\text{{({t})}}" not in shown]


LOADS = re.compile(
    r'<(?:script|link|img|iframe|source|embed|object)\b[^>]*?(?:src|href|data)=["\']?(?:https?:)?//|@import|url\(["\']?https?:|!\[[^\]]*\]\(https?:',
    re.I,
)


@each
def test_nothing_loads_from_another_host(nb):
    found = []
    for c in page(nb)["cells"]:
        shown = [text(c["source"])] if c["cell_type"] == "markdown" else []
        for o in c.get("outputs", []):
            data = o.get("data", {})
            # for these Quarto loads scripts
            found += [
                k for k in data if k in ("text/html", "text/javascript") or k.startswith("application/")
            ]
            shown += [text(v) for k, v in data.items() if k.startswith("text/")]
        found += [m for x in shown for m in LOADS.findall(x)] + [x[:80] for x in shown if "<script" in x]
    assert not found


def test_the_theme_loads_no_font():
    theme = site["format"]["html"]["theme"]
    assert theme["light"][1:] == ["site.scss"] and theme["dark"][1:] == ["site.scss", "dark.scss"]
    style = (ROOT / "site.scss").read_text(encoding="utf-8")
    assert re.search(r"^\$web-font-path: *false;", style, re.M)
    assert "http" not in style + (ROOT / "dark.scss").read_text(encoding="utf-8")
    assert site["format"]["html"]["html-math-method"] == "mathml"
    assert re.search(r"^math \{\s*font-family: .*Math.*, math;", style, re.M), "formulas need a math font"
    assert (ROOT / site["website"]["favicon"]).is_file()


def contrast(a, b):  # of two colours such as "#0b7a64", by WCAG
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        lit = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * lit[0] + 0.7152 * lit[1] + 0.0722 * lit[2]

    low, high = sorted((light(a), light(b)))
    return (high + 0.05) / (low + 0.05)


def test_links_and_small_print_can_be_read():
    "On the page, and on the grounds of code and of the breadcrumb."
    assert round(contrast("#000000", "#ffffff")) == 21 and contrast("#18bc9c", "#ffffff") < 4.5
    grounds = {"site.scss": ("#ffffff", "#f3f5f6", "#ecf0f1"), "dark.scss": ("#222222", "#434343")}
    for name, behind in grounds.items():
        style = (ROOT / name).read_text(encoding="utf-8")
        colours = re.findall(r"^\$(?:link-color|text-muted): *(#\w{6})", style, re.M)
        assert colours and all(contrast(c, b) >= 4.5 for c in colours for b in behind), name


@each
def test_code_is_folded(nb):
    "Source and checks are never open, and neither is the code of a figure."
    open_cells = []
    for c in page(nb)["cells"]:
        source = text(c["source"])
        if c["cell_type"] != "code" or re.search(r"^#\| *(?:echo: *false|code-fold: *true)", source, re.M):
            continue
        figure = any(k.startswith("image/") for o in c.get("outputs", []) for k in o.get("data", {}))
        if figure or re.search(r"^assert\b", source, re.M) or "Exported source" in source:
            open_cells.append(source[:100])
    assert not open_cells


@each
def test_signatures_are_clean(nb):
    shown = [
        text(o["data"]["text/markdown"])
        for c in page(nb)["cells"]
        for o in c.get("outputs", [])
        if "text/markdown" in o.get("data", {})
    ]
    assert not [
        x[:200]
        for x in shown
        for code in re.findall(r"```python\n.*?\n```", x, re.S)
        if re.search(r"\]\((?:https?:|/|\w+\.)", code)
    ]
    assert not [x[:200] for x in shown if "Call self as a function" in x or ", # a matplotlib figure" in x]
    assert not [x[:200] for x in shown if re.search(r"\n```\n\n\*.+\*$", x, re.M)], "half of it in italics"
    assert not [x[:200] for x in shown if re.search(r"function \S+ at 0x|\(\n    \*args, \*\*kwargs\n\)", x)]
    headings = [h for x in shown for h in re.findall(r"^#{2,} +(\S+)$", x, re.M)]
    assert len(headings) == len(set(headings)), "a signature is shown twice"


@each
def test_images_have_alt_text(nb):
    without = []
    for c in page(nb)["cells"]:
        if c["cell_type"] == "markdown":
            without += re.findall(r"!\[\]\([^)]*\)", text(c["source"]))
        elif any(k.startswith("image/") for o in c.get("outputs", []) for k in o.get("data", {})):
            if not re.search(r"^#\| *fig-(?:alt|cap): *\S.{10}", text(c["source"]), re.M):
                without.append(text(c["source"])[-120:])
    assert not without


@each
def test_no_cell_of_a_table_is_cut(nb):
    cut = [
        x
        for c in page(nb)["cells"]
        for o in c.get("outputs", [])
        for x in re.findall(
            r"<t[dh][^>]*>([^<]*\w\.\.\.)</t[dh]>", text(o.get("data", {}).get("text/markdown", ""))
        )
    ]
    assert not cut


@each
def test_tables_show_no_markup(nb):
    found = []
    for c in page(nb)["cells"]:
        for o in c.get("outputs", []):
            html = text(o.get("data", {}).get("text/markdown", ""))
            cells = re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", html, re.S)
            found += [x for x in cells if re.search(r"\$\S.*\$|\*\*|`|\]\(", x)]
    assert not found


@each
def test_no_link_is_within_a_link(nb):
    code = r"(?<!\[)`[^`\n]*`"
    assert not re.findall(r"\]\([^)\s]+\)[^][]*\]\([^)\n]*\)?", re.sub(code, "", prose(nb)))


@each
def test_no_id_is_on_a_page_twice(nb):
    ids = [c["id"] for c in page(nb)["cells"]]
    assert len(set(ids)) == len(ids) and not set(ids) & anchors(nb)


@each
def test_folds_say_what_is_in_them(nb):
    sources = [text(c["source"]) for c in page(nb)["cells"]]
    assert not [s[:200] for s in sources if 'code-summary: "Source"' in s]
    assert not [s[:200] for s in sources if "#| code-fold: true" in s and "#| code-summary:" not in s]


@each
def test_checks_show_no_warnings(nb):
    assert not [
        text(o["text"])
        for c in page(nb)["cells"]
        for o in c.get("outputs", [])
        if o.get("name") == "stderr" and re.search(r"^\s*assert\b", text(c["source"]), re.M)
    ]


def test_text_of_docstrings_and_signatures():
    shown = (
        "### f\n\n```python\ndef f(\n    a:int, b:int, # a figure of `x`\n):\n```\n\n*One line and*\nanother."
    )
    made = last_comments(plain_signature(shown), "def f(a, b):  # a figure of `x`\n    pass")
    assert "b:int\n): # a figure of `x`\n" in made and made.endswith("\n\nOne line and\nanother.")
    assert last_comments(shown, "def f(\n    a,\n    b,  # a figure\n):") == shown
    held = plain_signature("```python\ndef f():\n```\n\n**held*, *did not hold* or not.*")
    assert held.endswith("\n\n*held*, *did not hold* or not.")
    none = plain_signature("```python\ndef Encoder(\n    *args, **kwargs\n):\n```")
    assert "class Encoder:" in none and "args" not in none
    assert "step=plain,\n" in plain_signature("```python\nf(\n    step=<function plain at 0x7f0a>,\n)\n```")


def test_tables_of_numbers_and_of_texts():
    html = "<table><thead><tr><th></th><th>symbol</th><th>n</th></tr></thead><tbody>" + "".join(
        f"<tr><th>{n}</th><td>{a}</td><td>{b}</td></tr>"
        for n, a, b in (("a", r"$\lambda_1$", "+5% (-1% to 9%)"), ("b", "$L$ of **all**", "3.2e-05"))
    )
    made = own_table(html + "</tbody></table>")
    assert '<td class="text"><i>&lambda;</i><sub>1</sub></td><td>+5%' in made
    assert '<th></th><th class="text">symbol</th><th>n</th>' in made
    assert "<i>L</i> of <strong>all</strong></td><td>3.2e-05" in made
    markdown = "| a | b | c |\n|---|---|:--|\n| x | 0.1 | 2 |\n| `y` | **12%** (3) | 3 |\n"
    assert numbers_right(f"{markdown}\n") == f"{markdown}\n".replace("|---|---|:--|", "|---|--:|:--|")
    assert numbers_right("| a |\n|---|\n| x|y |\n") == "| a |\n|---|\n| x|y |\n"
    columns = page_output({"output_type": "stream", "name": "stdout", "text": ["a     1\n", "b     2\n"]})
    assert columns["data"]["text/markdown"] == "``````{.columns-of-text}\na     1\nb     2\n``````\n"
    line = {"output_type": "stream", "name": "stdout", "text": ["a line of text\n", "and another\n"]}
    assert page_output(dict(line)) == line


def test_what_a_fold_says():
    exported = '#| code-summary: "Exported source"\n'
    assert fold(f"{exported}def _a(): pass\nclass B: pass\nC = 1", []) == "Source of `B`, `C`, `_a`"
    many = "\n".join(f"X{i} = {i}" for i in range(7))
    assert fold(exported + many, []) == "Source of `X0`, `X1`, `X2`, `X3` and 3 more"
    folded = "#| code-fold: true\n"  # without a summary Quarto would write `Code` on each
    assert fold(f"{folded}assert x == 1\n", []) == "Checks"
    assert fold(f"{folded}def f(x):\n    return x\n", []) == "Source of `f`"
    assert fold(f'{folded}#| code-summary: "Answer"\nassert x == 1\n', []) is None
    told = {"output_type": "stream", "name": "stderr", "text": "mine: the 3-core leaves 3 users"}
    assert taught({"source": "f()", "outputs": [told]}) == [told]
    assert taught({"source": "assert f()", "outputs": [told]}) == []


def test_the_filters_parts_do_what_they_say():
    assert one_line('#| fig-alt: >-\n#|   A "b"\n#|   c\nx = 1') == '#| fig-alt: "A \\"b\\" c"\nx = 1'
    assert (
        one_link("the losses' [own [`bce`](a.html)](05.ipynb) and [`x`](b)")
        == "the losses' [own `bce`](05.ipynb) and [`x`](b)"
    )
    assert one_link("[[`a`](x#a), [`b`](x#b) `c[0]`](x) of [`d`](y)") == "[`a`, `b` `c[0]`](x) of [`d`](y)"
    "On made-up cells, so that each of the checks above is known to be able to fail."
    nb = {
        "cells": [
            {
                "cell_type": "markdown",
                "id": "a",
                "metadata": {},
                "source": "# Title\n> One line.\n\nThe opening.",
            }
        ]
    }
    split_title(nb)
    assert [c["source"] for c in nb["cells"]] == ["# Title\n> One line.", "The opening."]
    assert numbered(r"x = 1 \tag{7a}") == r"x = 1 \qquad\text{(7a)}"
    signature = plain_signature(
        "### f\n\n```python\ndef f(\n    ds:[`Dataset`](01_data.html#dataset)\n):\n```\n\n*Call self as a"
        " function.*"
    )
    assert "ds:Dataset\n" in signature and "Call self" not in signature
    assert "c:Config |" in plain_signature("```python\ndef f(\n    c:__main__.Config | None=None\n):\n```")
    table = own_table(
        '<style scoped>x</style><script src="https://cdn/x.js"></script><table border="1"'
        ' class="dataframe"></table>'
    )
    assert "{=html}" in table and "cdn" not in table and "style" not in table and not LOADS.search(table)
    assert (
        LOADS.search('<script src="https://cdn/x.js">')
        and LOADS.search('<link href="//fonts/x.css">')
        and not LOADS.search('<a href="https://x.org">')
    )
    widget = page_output(
        {
            "output_type": "display_data",
            "data": {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "VBox()"},
        }
    )
    assert list(widget["data"]) == ["text/markdown"]
    cells = [{"cell_type": "code", "source": x} for x in ("show(lambda: panel(GenNi))", "show(sinkhorn)")]
    in_lab(cells)
    assert "kernel" in cells[0]["outputs"][0]["data"]["text/markdown"] and "outputs" not in cells[1]
    picture = [{"output_type": "display_data", "data": {"image/png": "x"}}]
    assert (
        fold("assert x == 1\n", []) == "Checks"
        and fold("plt.plot(x)", picture) == "Code of the figure"
        and fold("x = 1", []) is None
    )
    assert (
        fold("y = f(x)\nassert y\ny", [{"output_type": "execute_result", "data": {"text/plain": "1"}}])
        == "Code, with checks"
    )


@each
def test_links(nb):
    md, dead = re.sub(r"`[^`\n]*`", "", prose(nb)), []
    for link in re.findall(r'\]\(([^)\s]+)|(?:src|href)="([^"]+)"', md):
        link = "".join(link)
        if re.match(r"[a-z]+:|attachment:", link):
            continue
        name, _, anchor = link.partition("#")
        to = nb.parent / name if name else nb
        if not to.exists():
            dead.append(link)
        elif (
            anchor
            and to.suffix == ".ipynb"
            and anchor not in anchors(next(o for o in notebooks if o.name == to.name))
        ):
            dead.append(link)
    dead += [
        f"@{o}" for o in re.findall(r"(?<![\w.])@((?:fig|eq|tbl|sec|lst)-[\w-]+)", md) if o not in anchors(nb)
    ]
    assert not dead


def test_filter_is_a_filter():
    "As Quarto runs it: a notebook in, a notebook and nothing else out; a page that is done stays as it is."

    def run(s):
        return subprocess.run(
            [sys.executable, "-m", "seqrec_nb._quarto_filter"],
            input=s,
            capture_output=True,
            check=True,
            cwd=ROOT,
        ).stdout

    once = run(notebooks[-1].read_bytes())
    assert json.loads(once)["cells"] and run(once) == once


@pytest.mark.skipif(
    not shutil.which("quarto"), reason="Quarto is not on the PATH, so the site was not rendered"
)
def test_render(tmp_path):
    shutil.copytree(
        ROOT, tmp_path / "site", ignore=shutil.ignore_patterns(".*", "_docs", "_proc", "__pycache__")
    )
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    res = subprocess.run(["quarto", "render"], cwd=tmp_path / "site", env=env, capture_output=True, text=True)
    assert res.returncode == 0, res.stderr[-5000:]
    made = {nb: tmp_path / "site" / "_docs" / "nbs" / f"{nb.stem}.html" for nb in notebooks}
    assert (tmp_path / "site" / "_docs" / "404.html").exists()
    missing = [nb.stem for nb, path in made.items() if not path.exists()]
    assert not missing
    foreign = {
        nb.stem: hosts
        for nb, path in made.items()
        if (hosts := LOADS.findall(path.read_text(encoding="utf-8")))
    }
    assert not foreign


def test_badges_open_a_notebook_where_the_project_is_published(monkeypatch):
    nb = ROOT / "nbs" / "62_replay.ipynb"
    text_of_it = nb.read_text(encoding="utf-8")
    config = get_config()
    assert not config.git_url and "colab" not in filter_text(text_of_it)
    monkeypatch.setitem(config.d, "git_url", "https://github.com/someone/seqrec_nb")
    said = "\n".join(text(c["source"]) for c in json.loads(filter_text(text_of_it))["cells"][:3])
    colab = "https://colab.research.google.com/github/someone/seqrec_nb/blob/main/nbs/62_replay.ipynb"
    binder = "https://mybinder.org/v2/gh/someone/seqrec_nb/main?urlpath=lab/tree/nbs/62_replay.ipynb"
    assert (
        f"]({colab})" in said
        and f"]({binder})" in said
        and "git clone https://github.com/someone/seqrec_nb here" in said
    )
    pictures = re.findall(r"!\[Open in \w+\]\(([^)]+)\)", said)
    assert len(pictures) == 2 and all((nb.parent / p).is_file() for p in pictures)
    assert not LOADS.search(said) and opened_in("a.ipynb", "https://example.org/x", "main") == ""
