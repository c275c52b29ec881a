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
    "Without links in code and without the docstring that Python makes up for a function that has none"

    def unlinked(m):
        return re.sub(r"\[`?([^\]\n`]+)`?\]\([^)\s]+\)", r"\1", m[0])

    text = re.sub(r"```python\n.*?\n```", unlinked, text, flags=re.S)
    return re.sub(r"^\*?Call self as a function\.\*?\s*$", "", text, flags=re.M)


def own_table(html):
    "A table as Markdown with raw HTML: for an output of HTML Quarto would load scripts from another host"
    html = re.sub(r"<style[^>]*>.*?</style>\s*", "", html, flags=re.S)
    html = re.sub(r"<script\b.*?</script>\s*", "", html, flags=re.S)
    html = html.replace(' border="1"', "").replace('class="dataframe"', 'class="dataframe table table-sm"')
    return f'\n```{{=html}}\n<div class="table-scroll">\n{html.strip()}\n</div>\n```\n'


def page_output(output):
    "An output as it shall be on the page"
    data = output.get("data")
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
        data["text/markdown"] = plain_signature(numbered(joined(data["text/markdown"])))
    return output


def statements(source):
    code = "\n".join(x for x in source.splitlines() if not x.lstrip().startswith(("#|", "%", "!")))
    try:
        return ast.parse(code).body
    except SyntaxError:
        return []


def fold(source, outputs):
    "Which summary the code of a cell is folded under; None: it stays open"
    if '#| code-summary: "Exported source"' in source:
        return "Source"
    if re.search(r"^#\| *(echo: *false|code-fold)", source, re.M):
        return None
    checks = [any(isinstance(n, ast.Assert) for n in ast.walk(s)) for s in statements(source)]
    if checks and all(checks) or any(checks) and not outputs:
        return "Checks"
    if any(k.startswith("image/") for o in outputs for k in o.get("data", {})):
        return "Code of the figure"
    return "Code, with checks" if any(checks) else None


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
    "Without nbdev's link to a name inside of a link that the page has itself"
    return re.sub(r"(?<!!)\[([^][]*)\[(`[^`]+`)\]\([^)]*\)([^][]*)\]\(", r"[\1\2\3](", text)


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


def finish_cells(cells):
    "Texts, figures, outputs and folded code as they shall be on the page, in place"
    heading = "at the top"
    for c in cells:
        if c["cell_type"] == "markdown":
            c["source"] = one_link(numbered(joined(c["source"])))
            heading = next(iter(re.findall(r"^#+ +(.+?) *$", c["source"], re.M)[::-1]), heading)
        if c["cell_type"] != "code":
            continue
        described(c, re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", ""))
        c["outputs"] = [page_output(o) for o in c.get("outputs", [])]
        fold_code(c)
    for c in cells:  # a list of lines, as notebooks are stored
        c["source"] = joined(c["source"]).splitlines(keepends=True)


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
    page = by_nbdev(nb)
    finish_cells(page["cells"])
    alive(page["cells"])
    in_lab(page["cells"])
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
