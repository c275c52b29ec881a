"The site's sources: the sidebar is whole, the filter takes every notebook, links lead somewhere. Rendered where Quarto is."
import json, os, re, shutil, subprocess, sys
from functools import lru_cache
from pathlib import Path

import pytest
import yaml
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from seqrec_nb._quarto_filter import filter_text

ROOT = Path(__file__).parent.parent
site = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))
notebooks = sorted(nbglob(as_path=True), key=lambda p: (p.stem != 'index', p.name))
each = pytest.mark.parametrize('nb', notebooks, ids=lambda nb: nb.stem)
NBDEV = {'default_exp', 'export', 'exports', 'exporti', 'hide', 'hide_line', 'filter_stream', 'exec_doc'} | set(get_config().tst_flags.split())
QUARTO = {'eval', 'echo', 'output', 'include', 'warning', 'label', 'code-fold', 'code-summary', 'column', 'layout-ncol',
          'fig-cap', 'fig-subcap', 'fig-alt', 'fig-align', 'tbl-cap'}

def flat(contents):
    for o in contents:
        if isinstance(o, dict): yield from flat(o['contents'])
        else: yield o

@lru_cache(None)
def page(nb): return json.loads(filter_text(nb.read_text(encoding='utf-8')))

def text(o): return ''.join(o) if isinstance(o, list) else o

def prose(nb):
    "The page's Markdown, written or shown, without code"
    res = []
    for c in page(nb)['cells']:
        if c['cell_type'] == 'markdown': res.append(text(c['source']))
        res += [text(o['data']['text/markdown']) for o in c.get('outputs', []) if 'text/markdown' in o.get('data', {})]
    return re.sub(r'^(```+|~~~+).*?^\1', '', '\n\n'.join(res), flags=re.M | re.S)

@lru_cache(None)
def anchors(nb):
    md, res = prose(nb), set()
    for h in re.findall(r'^#+ +(.+?)(?: *\{[^}]*\})? *$', md, re.M):  # as Pandoc names headings
        h = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', h).lower()
        res.add(re.sub(r'^[^a-z]+', '', re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', h).strip())) or 'section')
    code = '\n'.join(text(c['source']) for c in page(nb)['cells'])
    return res | set(re.findall(r'\{#([\w:.-]+)', md)) | set(re.findall(r'#\| label: *([\w-]+)', code)) | set(re.findall(r'\bid="([^"]+)"', md))

def test_sidebar_and_render_list_are_the_notebooks():
    want = [p.relative_to(ROOT).as_posix() if p.is_absolute() else p.as_posix() for p in notebooks]
    assert list(flat(site['website']['sidebar']['contents'])) == want
    rendered = {p.relative_to(ROOT).as_posix() for o in site['project']['render'] for p in ROOT.glob(o)}
    assert rendered == set(want)

@each
def test_directives(nb):
    "A misspelt directive does nothing and says nothing."
    found = []
    for c in json.loads(nb.read_text(encoding='utf-8'))['cells']:
        code = False
        for line in text(c['source']).splitlines() if c['cell_type'] == 'code' else []:
            m = re.match(r'\s*#\s*\|\s*([\w-]+)(:?)', line)
            known = m and m[1] in (QUARTO if m[2] else NBDEV)
            if m and (code or not known): found.append(line)
            code = code or bool(line.strip() and not m)
    assert not found, 'unknown, or not at the top of its cell'

@each
def test_page(nb):
    cells = page(nb)['cells']
    assert text(cells[0]['source']).startswith('---') and 'title:' in text(cells[0]['source']), 'no H1 in the first cell'
    for c in cells:
        stray = [o for o in re.findall(r'^\s*#\|\s*(.*)', text(c['source']), re.M) if o.split(':')[0] not in QUARTO]
        assert not (c['cell_type'] == 'code' and stray)
        assert all(o['output_type'] != 'error' for o in c.get('outputs', []))

@each
def test_links(nb):
    md, dead = re.sub(r'`[^`\n]*`', '', prose(nb)), []
    for link in re.findall(r'\]\(([^)\s]+)|(?:src|href)="([^"]+)"', md):
        link = ''.join(link)
        if re.match(r'[a-z]+:|attachment:', link): continue
        name, _, anchor = link.partition('#')
        to = nb.parent/name if name else nb
        if not to.exists(): dead.append(link)
        elif anchor and to.suffix == '.ipynb' and anchor not in anchors(next(o for o in notebooks if o.name == to.name)): dead.append(link)
    dead += [f'@{o}' for o in re.findall(r'(?<![\w.])@((?:fig|eq|tbl|sec|lst)-[\w-]+)', md) if o not in anchors(nb)]
    assert not dead

def test_filter_is_a_filter():
    "As Quarto runs it: a notebook in, a notebook and nothing else out; a page that is done stays as it is."
    run = lambda s: subprocess.run([sys.executable, '-m', 'seqrec_nb._quarto_filter'], input=s, capture_output=True, check=True, cwd=ROOT).stdout
    once = run(notebooks[-1].read_bytes())
    assert json.loads(once)['cells'] and run(once) == once

@pytest.mark.skipif(not shutil.which('quarto'), reason='Quarto is not on the PATH, so the site was not rendered')
def test_render(tmp_path):
    shutil.copytree(ROOT, tmp_path/'site', ignore=shutil.ignore_patterns('.*', '_docs', '_proc', '__pycache__'))
    env = {**os.environ, 'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'}
    res = subprocess.run(['quarto', 'render'], cwd=tmp_path/'site', env=env, capture_output=True, text=True)
    assert res.returncode == 0, res.stderr[-5000:]
    missing = [nb.stem for nb in notebooks if not (tmp_path/'site'/'_docs'/'nbs'/f'{nb.stem}.html').exists()]
    assert not missing
