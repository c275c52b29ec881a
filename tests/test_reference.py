"Citations, the glossary, and what is computed from the package, agree with the pages."

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "nbs").glob("*.ipynb"))
ENTRY = re.compile(r"^@(\w+)\{([\w-]+),\n(.*?)^\}$", re.M | re.S)
CITED = re.compile(r"(?<![\w.`])-?@([a-z]\w*\d{4}\w*)")


def markdown(page):
    "The Markdown of a page, without its code."
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def cited(text):
    "The keys in [@key] and [@one; @two]."
    return {key for m in re.findall(r"\[([^\]\[]*@[^\]\[]*)\](?!\()", text) for key in CITED.findall(m)}


def references():
    text = (ROOT / "nbs" / "references.bib").read_text(encoding="utf-8")
    found = {
        key: dict(re.findall(r"^  (\w+) = \{(.*)\},?$", body, re.M)) for _, key, body in ENTRY.findall(text)
    }
    assert len(found) == text.count("\n@"), "an entry is there twice, or is not written as the others are"
    return found


def test_cited_finds_citations():
    assert cited("x [@a2020b; see @c2021d, p. 3] y") == {"a2020b", "c2021d"}
    assert not cited("`@cache` me@a2020.org [@eq-loss] [a](b@c2020d)")


def test_every_citation_is_in_the_file_and_every_entry_is_cited():
    on = {p.stem: cited(markdown(p)) for p in PAGES}
    there, used = references(), set().union(*on.values())
    missing = {page: sorted(keys - there.keys()) for page, keys in on.items() if keys - there.keys()}
    assert not missing, f"not in nbs/references.bib: {missing}"
    assert not sorted(there.keys() - used), "in nbs/references.bib, and cited on no page"


def test_references_are_whole():
    for key, about in references().items():
        assert {"author", "title", "year"} <= about.keys(), key
        assert about["year"] in key and about.keys() & {"journal", "booktitle", "eprint"}, key
        assert re.fullmatch(r"10\.\d{4,}/\S+", about.get("doi", "10.1000/x")), key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", about.get("eprint", "1234.5678")), key
    names = [about["title"] for about in references().values()]
    assert len(set(names)) == len(names)


def test_each_paper_is_named_on_the_page_that_uses_it():
    lines = re.findall(r"^- (.*)$", markdown(ROOT / "nbs" / "99_literature.ipynb"), re.M)
    assert len(lines) > 50
    silent = []
    for line in lines:
        name, page = re.search(r"\*([^*]+)\*", line)[1], re.search(r"\]\((\w+\.ipynb)\)$", line)[1]
        if name.lower() not in (ROOT / "nbs" / page).read_text(encoding="utf-8").lower():
            silent.append(f"{page} does not name {name}")
    assert not silent
