"""Prepares a notebook for Quarto: nbdev's processors, then links that work between the pages.

Written by hand. It needs the `dev` extra, and no module of the library imports it.
"""
import io, json, os, re, sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

@cache
def defined():
    "nbdev's link to a name -> the notebook that defines it: 30_genni and 40_genni are both genni.html to nbdev"
    from seqrec_nb._modidx import d
    root, res = Path(__file__).parent.parent, {}
    for names in d['syms'].values():
        for link, file in names.values(): res[link] = re.search(r'File to edit: \S*?(\w+\.ipynb)', (root/file).read_text(encoding='utf-8'))[1]
    return res

def filter_text(text):
    "The notebook in `text`, JSON, as Quarto shall see it"
    from execnb.nbio import dict2nb, nb2str
    from nbdev.config import get_config
    from nbdev.doclinks import _nbpath2html, nbglob
    from nbdev.processors import FilterDefaults, insert_warning

    nb = dict2nb(json.loads(text))
    if any(insert_warning.content in ''.join(c.source) for c in nb.cells[:3]): return text  # done already
    cfg, here, in_test = get_config(), os.getcwd(), os.environ.get('IN_TEST')
    nb.path_ = 'page.ipynb'  # nbdev wants a name, for an `output-file` that is dropped below
    os.environ['IN_TEST'] = '1'
    os.chdir(cfg.nbs_path)
    try:
        with redirect_stdout(io.StringIO()): FilterDefaults()(nb)
    finally:
        os.chdir(here)
        if in_test is None: del os.environ['IN_TEST']
    front = nb.cells[0]
    if front.cell_type == 'raw': front.source = re.sub(r'^output-file:.*\n', '', front.source, flags=re.M)
    nb.metadata.pop('widgets', None)  # a widget does nothing on a page without a kernel
    res = nb2str(nb)
    # nbdev links to /base/data.html; the page is made from 01_data.ipynb, and Quarto resolves a link to that
    pages = {_nbpath2html(p).name: p.name for p in nbglob(as_path=True)}
    base = f"{cfg.doc_host}/{cfg.doc_baseurl.strip('/')}/"
    res = re.sub(re.escape(base) + r'(\w+\.html)(#[\w.]*)?', lambda m: defined().get(m[1] + (m[2] or ''), pages.get(m[1], m[1])) + (m[2] or ''), res)
    res = re.sub(r'(\.ipynb#[a-z]\w*)\.\w+\)', r'\1)', res)  # a method has no heading of its own: its class,
    res = re.sub(r'(\.ipynb)#_\w+\)', r'\1)', res)           # nor has a private name: its page
    if not cfg.git_url: res = re.sub(r'\[source\]\([^)]*\)\{[^}]*\}', '', res)
    return res

def main():
    "Reads a notebook from stdin and writes it to stdout, and nothing else"
    out = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).parent.parent))
    out.write(filter_text(sys.stdin.buffer.read().decode()))
    out.close()

if __name__ == '__main__': main()
