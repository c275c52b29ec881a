"""Prepares a notebook for Quarto: nbdev's processors, and what makes a page of it that is whole and needs no
other host.

Written by hand. It needs the `dev` extra, and no module of the library imports it.
"""

import ast
import io
import json
import os
import re
import sys
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path

IN_LAB = "*Here JupyterLab (`make lab`) shows controls, which need a running kernel.*"
WIDGET = "application/vnd.jupyter.widget-view+json"


@cache
def defined():
    """nbdev's link to a name -> the notebook that defines it: 30_genni and 40_genni are both genni.html to
    nbdev
    """
    from seqrec_nb._modidx import d

    root, res = Path(__file__).parent.parent, {}
    for names in d["syms"].values():
        for link, file in names.values():
            res[link] = re.search(
                r"File to edit: \S*?(\w+\.ipynb)", (root / file).read_text(encoding="utf-8")
            )[1]
    return res


def joined(source):
    return "".join(source) if isinstance(source, list) else source or ""


def split_title(nb):
    """nbdev turns the whole first Markdown cell into the title: what follows title and subtitle gets a cell
    of its own
    """
    for i, c in enumerate(nb["cells"]):
        if c["cell_type"] != "markdown":
            continue
        head = re.match(r"\s*# .+\n(?:\s*> .+(?:\n> .+)*)?", joined(c["source"]))
        if not head:
            return
        rest = joined(c["source"])[head.end() :].strip()
        c["source"] = head[0]
        if rest:
            nb["cells"].insert(
                i + 1,
                {
                    "cell_type": "markdown",
                    "id": f"{c.get('id', 'title')}-rest",
                    "metadata": {},
                    "source": rest,
                },
            )
        return


def numbered(text):
    r"\tag{7} vanishes in MathML: the number is written as text"
    return re.sub(r"\\tag\*?\{([^}]*)\}", lambda m: rf"\qquad\text{{({m[1]})}}", text)


def plain_signature(text):
    """Without links in code, with a docstring in one kind of letters, and without what Python makes up"""

    def unlinked(m):
        code = re.sub(r"\[`?([^\]\n`]+)`?\]\([^)\s]+\)", r"\1", m[0])
        code = re.sub(r"<function (.+?) at 0x\w+>", r"\1", code)
        code = code.replace("__main__.", "")  # of a class that the notebook itself defines
        return re.sub(r"def ([A-Z]\w*)\(\n    \*args, \*\*kwargs\n\):", r"class \1:", code)

    text = re.sub(r"```python\n.*?\n```", unlinked, text, flags=re.S)
    text = re.sub(r"(\n```\n\n)\*(.+)\*$", r"\1\2", text, flags=re.M)  # the first line alone is in italics
    made_up = r"^(?:Call self as a function|Return repr\(self\)|Implement iter\(self\))\.\s*$"
    return re.sub(made_up, "", text, flags=re.M)


def last_comments(text, source):
    """nbdev shows what stands behind a whole line of `def f(a, b):  # a figure` as if it told the last
    argument: here it stands where it was written
    """
    for said in re.findall(r"^ *def .*\):  # (.+)$", source, re.M):
        loose = re.escape(said).replace("`", "`?")  # of a link to a name the marks are gone
        text = re.sub(rf", # ({loose})\n\):", r"\n): # \1", text)
    return text


def readable(html):
    "The symbols and the Markdown within the cells of a table, which nobody typesets there"

    def cell(m):
        text = re.sub(
            r"\$\\([a-z]+)(?:_(\w))?\$", r"<i>&\1;</i><sub>\2</sub>", m[2]
        )  # TeX's names are HTML's
        text = re.sub(r"\$([A-Za-z])(?:_(\w))?\$", r"<i>\1</i><sub>\2</sub>", text).replace("<sub></sub>", "")
        text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
        text = re.sub(r"(?<!\w)\*([^\s*][^*]*)\*(?!\w)", r"<em>\1</em>", text)
        return m[1] + re.sub(r"`([^`]+)`", r"<code>\1</code>", text) + m[3]

    return re.sub(r"(<t[dh]\b[^>]*>)([^<]*)(</t[dh]>)", cell, html)


def is_number(text):
    "Whether a cell of a table holds a number, perhaps with an interval or a unit, or nothing"
    text = re.sub(r"<[^>]*>|\]\([^)]*\)", "", text)
    few_letters = len(re.findall(r"[^\W\d_]", text)) <= 12
    return few_letters and bool(re.fullmatch(r"(?:\W*\d.*|NaN|nan|None|inf|\W*)", text.strip(), re.S))


def texts_left(html):
    "Marks the columns of a table that hold mostly texts, for the stylesheet; numbers stay on the right"
    head, begin, body = html.partition("<tbody>")
    rows = [re.findall(r"<td\b[^>]*>(.*?)</td>", r, re.S) for r in re.findall(r"<tr.*?</tr>", body, re.S)]
    filled = [[c for c in column if c.strip()] for column in zip(*rows)]
    texts = {i for i, column in enumerate(filled) if sum(map(is_number, column)) < len(column) / 2}

    def marked(kind, first):
        def row(m):
            places = iter(range(m[0].count(f"<{kind}>")))
            return re.sub(f"<{kind}>", lambda c: mark(c[0], next(places) - first), m[0])

        return row

    def mark(tag, place):
        return tag.replace(">", ' class="text">') if place in texts else tag

    levels = len(re.findall("<th", body.partition("</tr>")[0]))
    body = re.sub(r"<tr.*?</tr>", marked("td", 0), body, flags=re.S)
    return re.sub(r"<tr.*?</tr>", marked("th", levels), head, flags=re.S) + begin + body


def numbers_right(text):
    "Columns of numbers in Markdown's tables stand on the right, where nothing else was said"

    def table(m):
        rows = [re.split(r"(?<!\\)\|", r.strip().strip("|")) for r in m[0].splitlines()]
        if len({len(r) for r in rows}) > 1:
            return m[0]
        for i, rule in enumerate(rows[1]):
            cells = [r[i] for r in rows[2:]]
            if ":" not in rule and any(c.strip() for c in cells) and all(map(is_number, cells)):
                rows[1][i] = re.sub("-(?=[^-]*$)", ":", rule)  # as long as before: the lengths are widths
        lines = m[0].splitlines()
        return "\n".join([lines[0], f"|{'|'.join(rows[1])}|", *lines[2:]])

    return re.sub(r"^\|.*\n\|[ :|-]+\|$(?:\n\|.*)+", table, text, flags=re.M)


def own_table(html):
    "A table as Markdown with raw HTML: for an output of HTML Quarto would load scripts from another host"
    html = re.sub(r"<style[^>]*>.*?</style>\s*", "", html, flags=re.S)
    html = re.sub(r"<script\b.*?</script>\s*", "", html, flags=re.S)
    html = html.replace(' border="1"', "").replace('class="dataframe"', 'class="dataframe table table-sm"')
    html = texts_left(readable(html))
    return f'\n```{{=html}}\n<div class="table-scroll">\n{html.strip()}\n</div>\n```\n'


def laid_out(text):
    "Whether a text stands in columns, which a line that is broken would tear apart, and that fit a screen"
    widest = max(map(len, text.splitlines()), default=0)
    return widest <= 120 and len(re.findall(r"^.*\S {3,}\S.*$", text, re.M)) > 1


def page_output(output):
    "An output as it shall be on the page"
    data = output.get("data", {})
    text = joined(data.get("text/plain") if data.keys() == {"text/plain"} else output.get("text"))
    if laid_out(text) and output.get("name") != "stderr":
        fence = f"``````{{.columns-of-text}}\n{text.strip(chr(10))}\n``````\n"
        return {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": fence}}
    if not data:
        return output
    output["metadata"] = {
        k: {n: x for n, x in m.items() if n != "plotted"} if isinstance(m, dict) else m
        for k, m in output.get("metadata", {}).items()
    }
    if WIDGET in data:
        output["data"] = {"text/markdown": IN_LAB}
        return output
    for kind in [k for k in data if k.startswith(("application/", "text/javascript"))]:
        del data[kind]
    if any(k.startswith("image/") for k in data):
        data.pop("text/html", None)
    elif "text/html" in data:
        data["text/markdown"] = own_table(joined(data.pop("text/html")))
        data.pop("text/plain", None)
    if "text/markdown" in data:
        text = numbers_right(one_link(numbered(joined(data["text/markdown"]))))
        data["text/markdown"] = plain_signature(text)
    return output


def statements(source):
    code = "\n".join(x for x in source.splitlines() if not x.lstrip().startswith(("#|", "%", "!")))
    try:
        return ast.parse(code).body
    except SyntaxError:
        return []


def names_in(source):
    "The names that a cell defines, public ones first"
    found = []
    for s in statements(source):
        targets = s.targets if isinstance(s, ast.Assign) else [s]
        found += [getattr(t, "name", getattr(t, "id", "")) for t in targets]
    return sorted(filter(None, dict.fromkeys(found)), key=lambda n: n.startswith("_"))


def source_of(source):
    "The summary of a cell that defines names, of which it tells four; None: it defines none"
    names = [f"`{n}`" for n in names_in(source)]
    more = f" and {len(names) - 4} more" if len(names) > 5 else ""
    return f"Source of {', '.join(names[:4] if more else names)}{more}" if names else None


def fold(source, outputs):
    "Which summary the code of a cell is folded under; None: it stays as it is"
    if '#| code-summary: "Exported source"' in source:
        return source_of(source) or "Imports"
    if re.search(r"^#\| *(echo: *false|code-summary|code-fold:(?! *true))", source, re.M):
        return None
    checks = [any(isinstance(n, ast.Assert) for n in ast.walk(s)) for s in statements(source)]
    if checks and all(checks) or any(checks) and not outputs:
        return "Checks"
    if any(k.startswith("image/") for o in outputs for k in o.get("data", {})):
        return "Code of the figure"
    if any(checks):
        return "Code, with checks"
    return source_of(source) if re.search(r"^#\| *code-fold: *true", source, re.M) else None


def described(cell, heading):
    "A figure without alt text of its own is described by its section and by what its axes say"
    source, outputs = joined(cell["source"]), cell.get("outputs", [])
    images = [o for o in outputs if any(k.startswith("image/") for k in o.get("data", {}))]
    if not images or re.search(r"^#\| *fig-(?:alt|cap):", source, re.M):
        return
    axes = [
        a
        for o in images
        for m in o.get("metadata", {}).values()
        if isinstance(m, dict)
        for a in m.get("plotted", [])
    ]
    said = []
    for a in axes:
        against = " against ".join(x for x in (a.get("y"), a.get("x")) if x)
        said += [x for x in (a.get("title"), against) if x]
    text = f"Figure in the section {heading}" + (f": {'; '.join(dict.fromkeys(said))}" if said else "")
    cell["source"] = f"#| fig-alt: {json.dumps(text[:300], ensure_ascii=False)}\n{source}"


def one_line(source):
    "A text for a picture in one line, where it was written over several: nbdev takes each for a directive"

    def join(m):
        return f"#| {m[1]}: {json.dumps(re.sub(chr(10) + r'#.  ', '', m[2]).strip(), ensure_ascii=False)}"

    return re.sub(r"^#\| (fig-alt|fig-cap): >-((?:\n#\|   .*)+)", join, source, flags=re.M)


def fold_code(cell):
    "Source, checks and drawing code stand folded; what they give stays open"
    source, outputs = joined(cell["source"]), cell.get("outputs", [])
    summary = fold(source, outputs)
    if not summary:
        return
    source = re.sub(r"^#\| code-(?:fold|summary):.*\n", "", source, flags=re.M)
    cell["source"] = f'#| code-fold: true\n#| code-summary: "{summary}"\n{source}'


def one_link(text):
    "Without nbdev's links to names inside of a link that the page has itself"
    name = r"\[(`[^`]+`)\]\([^)]*\)"

    def outer(m):
        return re.sub(name, r"\1", m[0])

    return re.sub(rf"(?<!!)\[(?:[^][`]|`[^`]*`)*(?:{name}(?:[^][`]|`[^`]*`)*)+\]\(", outer, text)


@contextmanager
def in_folder(folder):
    "Work in a folder, with what nbdev takes for the mark of a test"
    here, in_test = os.getcwd(), os.environ.get("IN_TEST")
    os.environ["IN_TEST"] = "1"
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
        if in_test is None:
            del os.environ["IN_TEST"]


def by_nbdev(nb):
    "The notebook after nbdev's own processors"
    from execnb.nbio import dict2nb, nb2str
    from nbdev.config import get_config
    from nbdev.processors import FilterDefaults

    nb = dict2nb(nb)
    nb.path_ = "page.ipynb"  # nbdev wants a name, for an `output-file` that is dropped below
    with in_folder(get_config().nbs_path), redirect_stdout(io.StringIO()):
        FilterDefaults()(nb)
    front = nb.cells[0]
    if front.cell_type == "raw":
        front.source = re.sub(r"^output-file:.*\n", "", front.source, flags=re.M)
    nb.metadata.pop("widgets", None)  # a widget does nothing on a page without a kernel
    return json.loads(nb2str(nb))


def taught(cell):
    "The outputs of a cell without the warnings of checks, which provoke them"
    checks = re.search(r"^\s*assert\b", joined(cell["source"]), re.M)
    return [o for o in cell.get("outputs", []) if not (checks and o.get("name") == "stderr")]


def finish_cells(cells, source):
    "Texts, figures, outputs and folded code as they shall be on the page; `source`: of the notebook"
    heading = "at the top"
    for c in cells:
        if c["cell_type"] == "markdown":
            c["source"] = numbers_right(one_link(numbered(joined(c["source"]))))
            heading = next(iter(re.findall(r"^#+ +(.+?) *$", c["source"], re.M)[::-1]), heading)
        if c["cell_type"] != "code":
            continue
        described(c, re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", ""))
        c["outputs"] = [page_output(o) for o in taught(c)]
        for o in c["outputs"]:
            if shown := o.get("data", {}).get("text/markdown"):
                o["data"]["text/markdown"] = last_comments(shown, source)
        fold_code(c)
    for i, c in enumerate(cells):
        c["id"] = f"cell-{i}"  # Quarto puts it on the page, where a heading may have the same
        c["source"] = joined(c["source"]).splitlines(keepends=True)  # as notebooks are stored


def alive(cells):
    "Playgrounds that move without a kernel, under the cells that show them in JupyterLab; SEQREC_STILL: none"
    if os.environ.get("SEQREC_STILL"):
        return
    from seqrec_nb.play.replay import names, replay

    for c in cells:
        shown = re.findall(r"^show\((\w+)\)", joined(c["source"]), re.M)
        if c["cell_type"] == "code" and shown and shown[0] in names():
            # raw HTML within Markdown: for an output of HTML Quarto would load scripts from another host
            page = {"text/markdown": f"\n`````{{=html}}\n{replay(shown[0])}\n`````\n"}
            c["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": page}]


def unless_playground(m):
    "A link to a name, or the name alone where it is a playground."
    return m[1] if (Path(__file__).parent / "play" / f"{m[2]}.py").exists() else m[0]


def in_lab(cells):
    "Where a training is controlled, which no page without a kernel can do, the page says so."
    for c in cells:
        if c["cell_type"] == "code" and re.search(
            r"^show\((lambda: panel|studio)\(", joined(c["source"]), re.M
        ):
            c["outputs"] = [
                {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": IN_LAB}}
            ]


def own_links(text):
    "nbdev links to /base/data.html; the page is made from 01_data.ipynb, and Quarto resolves a link to that"
    from nbdev.config import get_config
    from nbdev.doclinks import _nbpath2html, nbglob

    cfg = get_config()
    pages = {_nbpath2html(p).name: p.name for p in nbglob(as_path=True)}
    base = f"{cfg.doc_host}/{cfg.doc_baseurl.strip('/')}/"

    def own_page(m):
        return defined().get(m[1] + (m[2] or ""), pages.get(m[1], m[1])) + (m[2] or "")

    text = re.sub(re.escape(base) + r"(\w+\.html)(#[\w.]*)?", own_page, text)
    text = re.sub(
        r"(\.ipynb#[a-z]\w*)\.\w+\)", r"\1)", text
    )  # a method has no heading of its own: its class,
    text = re.sub(r"(\.ipynb)#_\w+\)", r"\1)", text)  # nor has a private name: its page
    # a word in code that happens to be a playground's name is none: `weights` are not that page
    text = re.sub(r"\[(`(\w+)`)\]\(\d+_\w+\.ipynb#\2\)", unless_playground, text)
    return text if cfg.git_url else re.sub(r"\[source\]\([^)]*\)\{[^}]*\}", "", text)


def opened_in(name, git_url, branch):
    "Two badges that open a notebook elsewhere; nothing where the project is not published on GitHub"
    where = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", git_url.strip())
    if not where:
        return ""
    colab = f"https://colab.research.google.com/github/{where[1]}/blob/{branch}/nbs/{name}"
    binder = f"https://mybinder.org/v2/gh/{where[1]}/{branch}?urlpath=lab/tree/nbs/{name}"
    clone = f"!git clone https://github.com/{where[1]} here && pip install './here[lab]'"
    return (
        f"[![Open in Colab](../colab.svg)]({colab}) [![Open in Binder](../binder.svg)]({binder})"
        f" In Colab, run first: `{clone}`, then `%cd here/nbs`."
    )


def badges(page, text):
    "The badges of the notebook in `text`, under its title"
    from nbdev.config import get_config

    cfg = get_config()
    if not cfg.git_url.strip():
        return
    notebooks = (Path(__file__).parent.parent / "nbs").glob("*.ipynb")
    name = next((p.name for p in notebooks if p.read_text(encoding="utf-8") == text), None)
    if name and (said := opened_in(name, cfg.git_url, cfg.branch)):
        cell = {"cell_type": "markdown", "id": "badges", "metadata": {}, "source": [said]}
        page["cells"].insert(1, cell)


def filter_text(text):
    "The notebook in `text`, JSON, as Quarto shall see it"
    from nbdev.processors import insert_warning

    nb = json.loads(text)
    # done already
    if any(insert_warning.content in joined(c["source"]) for c in nb["cells"][:3]):
        return text
    split_title(nb)
    for c in nb["cells"]:
        if c["cell_type"] == "code":
            c["source"] = one_line(joined(c["source"]))
    source = "\n".join(joined(c["source"]) for c in nb["cells"] if c["cell_type"] == "code")
    page = by_nbdev(nb)
    finish_cells(page["cells"], source)
    alive(page["cells"])
    in_lab(page["cells"])
    badges(page, text)
    return own_links(json.dumps(page, indent=1, ensure_ascii=False) + "\n")


def main():
    "Reads a notebook from stdin and writes it to stdout, and nothing else"
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).parent.parent))
    out.write(filter_text(sys.stdin.buffer.read().decode()))
    out.close()


if __name__ == "__main__":
    main()
