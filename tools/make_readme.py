"Writes README.md from nbs/index.ipynb, with links and pictures that work from the root."

import base64
import posixpath
import re
from configparser import ConfigParser
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

from seqrec_nb._quarto_filter import one_line, opened_in

ROOT = Path(__file__).parent.parent
# sections that are for the site alone
LEFT_OUT = ("## A course of twelve weeks", "## Reading map")
NOTE = "<!-- Made from nbs/index.ipynb by `make readme`: edit the notebook, not this file. -->\n\n"


def kept(cells):
    "The cells without the sections that are left out, each of which begins a cell and ends with the next one"
    left, out = [], False
    for c in cells:
        if c.cell_type == "markdown" and (heading := re.match(r"## .*", c.source)):
            out = heading[0] in LEFT_OUT
        left += [] if out else [c]
    return left


def badges():
    "A cell that opens the notebook elsewhere, or none where settings.ini has no address"
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    said = opened_in("index.ipynb", config["DEFAULT"]["git_url"], config["DEFAULT"]["branch"])
    return [nbformat.v4.new_markdown_cell(said)] if said else []


def moving(cells):
    "-> {path: bytes} of the pictures that move, which nbconvert does not know: here they become links"
    found = {}
    for i, c in enumerate(cells):
        for out in c.get("outputs", []):
            if gif := out.get("data", {}).get("image/gif"):
                name = f"README_files/README_{i}.gif"
                found[name], out["data"] = base64.b64decode(gif), {"text/markdown": f"![gif]({name})"}
    return found


def make():
    "-> {path from the root: bytes}, README.md and its pictures"
    nb = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    cells, alts = [], []
    for c in kept(nb.cells):
        c.source = one_line(c.source)
        directives = re.findall(r"^#\|\s*(.*?)\s*$", c.source, re.M) if c.cell_type == "code" else []
        # a hidden cell with a text for its picture stands for what moves on the site
        still = "hide" in directives and any(d.startswith("fig-alt:") for d in directives)
        if c.cell_type == "raw" or {"hide", "include: false"} & set(directives) and not still:
            continue
        if c.cell_type == "code":
            c.source = re.sub(r"^#\|.*\n?", "", c.source, flags=re.M).strip()
            if not c.source or still or "echo: false" in directives:
                c.metadata["transient"] = {"remove_source": True}
            alt = [
                d.split(":", 1)[1].strip(" \"'") for d in directives if d.startswith(("fig-alt:", "fig-cap:"))
            ]
            alts += [
                o
                for out in c.outputs
                if any(k.startswith("image/") for k in out.get("data", {}))
                for o in (alt or ["picture"])[:1]
            ]
        cells.append(c)
    nb.cells = cells[:1] + badges() + cells[1:]
    pictures = moving(nb.cells)
    nb.metadata["language_info"] = {"name": "python"}
    exporter = MarkdownExporter()
    text, res = exporter.from_notebook_node(nb, {"output_files_dir": "README_files", "unique_key": "README"})
    names = iter(alts)
    text = re.sub(r"!\[(?:png|svg|jpeg|gif)\]", lambda m: f"![{next(names, 'picture')}]", text)
    text = re.sub(r"<style scoped>.*?</style>\n*", "", text, flags=re.S)  # GitHub would show it as text
    text = re.sub(r"^:::.*\n", "", text, flags=re.M)  # Quarto's fences,
    text = re.sub(r"(\)|\$\$) ?\{[#.][^}\n]*\}", r"\1", text)  # its labels
    text = text.replace("```{mermaid}", "```mermaid")  # its spelling of mermaid,
    text = re.sub(r" ?\[@[^\]]+\](?!\()", "", text)  # and its citations
    text = re.sub(
        r'(\]\(|(?:src|href)=")(?![a-z]+:|[#/]|README_files/)([^)"\s]+)',
        lambda m: m[1] + posixpath.normpath("nbs/" + m[2]),
        text,
    )
    text = NOTE + re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.M)).strip() + "\n"
    return {"README.md": text.encode(), **dict(res["outputs"]), **pictures}


if __name__ == "__main__":
    for old in ROOT.glob("README_files/*"):
        old.unlink()
    for name, content in make().items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_bytes(content)
        print(name)
