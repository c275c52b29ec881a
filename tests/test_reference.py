"Citations, the glossary, and what is computed from the package, agree with the pages."

import ast
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


def test_authors_that_pages_name_are_in_the_file():
    people = [name for about in references().values() for name in about["author"].split(" and ")]
    known = {name.split(",")[0].split()[-1] for name in people}
    several = re.compile(r"\b([A-Z]\w+) (?:et al\.|and [A-Z]\w+,? \(?(?:[A-Z]\w+ )?(?:19|20)\d\d)")
    assert several.findall("as Doe et al. and Roe and Poe (ICML 2020) say") == ["Doe", "Roe"]
    on = {p.stem: set(several.findall(p.read_text(encoding="utf-8"))) - known for p in PAGES}
    assert not {page: names for page, names in on.items() if names}


def test_each_paper_is_named_on_the_page_that_uses_it():
    lines = re.findall(r"^- (.*)$", markdown(ROOT / "nbs" / "99_literature.ipynb"), re.M)
    assert len(lines) > 50
    silent = []
    for line in lines:
        name, page = re.search(r"\*([^*]+)\*", line)[1], re.search(r"\]\((\w+\.ipynb)\)$", line)[1]
        if name.lower() not in (ROOT / "nbs" / page).read_text(encoding="utf-8").lower():
            silent.append(f"{page} does not name {name}")
    assert not silent


# what pages call things, always
TERMS = """user, item, interaction, history, target, training part, row, position, slot, padding,
packed layout, padded layout, count-based baseline, official code, head and tail users, popular item, cold
item, view, anchor, positive, negative, intent, prototype, cluster, leave-one-out, cold start, negative
sampling, next-item prediction"""
DEFINED = re.compile(
    r'<a id="([\w-]+)"></a>\*\*(.+?)\*\*(?: \(also (.+?)\))?: (.+) \[.+?\]\((\w+)\.ipynb\)$', re.M
)


def glossary():
    "(anchor, term, other names, definition, page) of each entry, in order."
    text = markdown(ROOT / "nbs" / "96_glossary.ipynb")
    found = [(a, t, re.findall(r"\*(.+?)\*", also), d, p) for a, t, also, d, p in DEFINED.findall(text)]
    assert len(found) == text.count("<a id="), "an entry is not written as the others are"
    return found


def test_the_glossary_is_in_order_and_names_nothing_twice():
    terms = [term for _, term, *_ in glossary()]
    assert terms == sorted(terms, key=str.lower) and len({t.lower() for t in terms}) == len(terms)
    for anchor, term, also, said, _ in glossary():
        assert anchor == re.sub(r"[^a-z0-9]+", "-", term.lower()).strip("-"), term
        assert len(set(also)) == len(also) and term not in also, term
        assert said.endswith(".") and len(re.findall(r"[.:](?= [A-Z]|$)", said)) <= 2, (
            f"{term}: two sentences at most"
        )


def test_the_glossary_has_the_terms_of_the_book():
    there = {term.lower() for _, term, *_ in glossary()}
    missing = {" ".join(t.split()) for t in TERMS.split(",")} - there
    assert not missing


def test_each_term_is_on_the_page_that_it_links_to():
    silent = []
    for _, term, also, _, page in glossary():
        cells = json.loads((ROOT / "nbs" / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
        text = " ".join(" ".join("".join(c["source"]) for c in cells).lower().split())
        names = [term, term.removesuffix("s"), *also]
        if not any(re.search(rf"(?<!\w){re.escape(n.lower())}", text) for n in names):
            silent.append(f"{page} has no word of {term}")
    assert not silent


# what a page says of itself at its opening
TIME = re.compile(r"Time:\s+(?:about\s+)?(\w+)\s+minutes?\b")
BEFORE = re.compile(r"Read before:(.*?)Time:", re.S)


def test_every_page_says_how_long_it_takes():
    silent = [p.name for p in PAGES if p.stem != "index" and not TIME.search(markdown(p))]
    assert not silent


def of_the_home_page(name):
    "The literal of a name in the code of the home page."
    cells = json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))["cells"]
    for c in cells:
        if c["cell_type"] == "code" and re.search(rf"^{name} = ", code := "".join(c["source"]), re.M):
            for s in ast.parse(code).body:
                if isinstance(s, ast.Assign) and s.targets[0].id == name:
                    return ast.literal_eval(s.value)
    raise KeyError(name)


def test_the_home_page_names_chapters_as_they_are():
    listed = of_the_home_page("PAGES")
    there = {p.stem: markdown(p) for p in PAGES}
    assert set(listed) <= set(there)
    as_it_is = {p: (re.match(r"# (.+)", there[p])[1], int(TIME.search(there[p])[1])) for p in listed}
    assert listed == as_it_is
    ways = [way for _, way in of_the_home_page("DOORS").values()]
    weeks = [pages for _, pages, _ in of_the_home_page("WEEKS").values()]
    assert len(ways) == 3 and len(weeks) == 12
    assert {p for pages in ways + weeks for p in pages} == set(listed)


def test_the_course_teaches_nothing_before_what_it_needs():
    weeks = of_the_home_page("WEEKS")
    week_of = {p: w for w, (_, pages, _) in weeks.items() for p in pages}
    assert sum(len(pages) for _, pages, _ in weeks.values()) == len(week_of)

    def before(week):
        return {week}.union(*map(before, weeks[week][2]))

    needed = {
        p: re.findall(r"\((\w+)\.ipynb", BEFORE.search(markdown(ROOT / f"nbs/{p}.ipynb"))[1]) for p in week_of
    }
    late = [
        (p, n) for p in needed for n in needed[p] if n in week_of and week_of[n] not in before(week_of[p])
    ]
    assert not late
    assert sum(n in week_of for p in needed for n in needed[p]) > 20
