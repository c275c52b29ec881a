"Every notebook runs from top to bottom."

import re

import nbdev.test
import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob

cfg = get_config()
notebooks = sorted(nbglob(as_path=True))


def name(nb):
    return nb.stem


def run(nb, flags=()):
    ok, _ = nbdev.test.test_nb(
        nb.absolute(), skip_flags=cfg.tst_flags.split(), force_flags=flags, basepath=cfg.config_path
    )
    assert ok, f'{nb.name} stopped: its traceback is under "Captured stderr call"'


def test_there_are_notebooks():
    assert notebooks


@pytest.mark.parametrize("nb", notebooks, ids=name)
def test_notebook(nb):
    run(nb)


@pytest.mark.slow
@pytest.mark.parametrize(
    "nb", [o for o in notebooks if re.search(r"#\| *slow\b", o.read_text(encoding="utf-8"))], ids=name
)
def test_notebook_with_slow_cells(nb):
    run(nb, ["slow"])
