"""The playgrounds where they are used: in JupyterLab, in a browser, by keyboard.

`SEQREC_SCREENSHOTS=folder` keeps a picture of each playground."""

import ast
import contextlib
import functools
import html
import http.server
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.request
from pathlib import Path

import nbformat
import pytest

from seqrec_nb._quarto_filter import alive
from seqrec_nb.play.base import Tick, playgrounds
from seqrec_nb.play.replay import grid_of, recorded, state_of, unpacked
from seqrec_nb.runs import load_run

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ("61_studio",)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = ("playwright", "jupyterlab", "ipywidgets", "plotly", "anywidget")
missing = ["a browser (Debian: apt-get install chromium)"] * (not CHROMIUM) + [
    f"the Python package {o}" for o in NEEDED if not importlib.util.find_spec(o)
]
ALL = list(playgrounds())
# in JupyterLab a control of each kind, on the site recorded and computed ones; all in the slow suite
QUICK_LAB, QUICK_SITE = {"sinkhorn", "augmentation"}, {"sinkhorn", "attack", "history"}


def quick(names):
    return [pytest.param(n, marks=[] if n in names else pytest.mark.slow) for n in ALL]


LAB, SITE = quick(QUICK_LAB), quick(QUICK_SITE)
# milliseconds: a machine with other work is no error
SLOW = 300_000
pytestmark = pytest.mark.skipif(
    bool(missing),
    reason=f"the playgrounds were not tried in a browser: {', '.join(missing)} is not installed",
)


def only_needed(path):
    "Leave the imports, what is exported and what is shown: `test_notebooks` runs the rest."
    nb = json.loads(path.read_text(encoding="utf-8"))

    def needed(code):
        return (
            re.search(r"^#\| *exports?\b", code, re.M)
            or re.match(r"(#\|.*\n)*show\(", code)
            or all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in ast.parse(code).body)
        )

    nb["cells"] = [
        c | {"outputs": []} for c in nb["cells"] if c["cell_type"] == "code" and needed("".join(c["source"]))
    ]
    path.write_text(json.dumps(nb), encoding="utf-8")


def showing(name, path):
    "A notebook that shows one playground."
    lines = ["from seqrec_nb.play.base import playgrounds, show", f'show(playgrounds()["{name}"])']
    cells = [nbformat.v4.new_code_cell(line) for line in lines]
    kernel = {"name": "python3", "display_name": "python3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "JupyterLab on copies of the notebooks, with settings of its own: where it is, and where its runs go."
    tmp = tmp_path_factory.mktemp("lab")
    (tmp / "nbs").mkdir()
    for name in NOTEBOOKS:
        only_needed(Path(shutil.copy(ROOT / "nbs" / f"{name}.ipynb", tmp / "nbs")))
    for name in ALL:
        showing(name, tmp / "nbs" / f"{name}.ipynb")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if k not in ("IN_TEST", "MPLBACKEND")} | {
        f"JUPYTER_{o}_DIR": str(tmp / o.lower()) for o in ("CONFIG", "DATA", "RUNTIME")
    }
    env |= {
        "JUPYTERLAB_SETTINGS_DIR": str(tmp / "user"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp / "workspaces"),
        "IPYTHONDIR": str(tmp / "ipython"),
        "PYTHONPATH": str(ROOT),
    }
    # all cells are on the page, whichever are in sight
    settings = {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false"},
    }  # asks nothing
    for name, value in settings.items():
        file = tmp / "user" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(value))
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--expose-app-in-browser",
        "--allow-root",
        f"--ServerApp.root_dir={tmp / 'nbs'}",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(tmp / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=env, cwd=tmp, stdout=log, stderr=log, start_new_session=True)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/api", timeout=5)
                break
            assert server.poll() is None and time.monotonic() < end, (tmp / "lab.log").read_text()[-3000:]
            time.sleep(0.1)
        yield types.SimpleNamespace(url=url, runs=Path(os.environ["SEQREC_RUNS"]), notebooks=tmp / "nbs")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)  # it ends its kernels first
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=SLOW)
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield b
        b.close()


@contextlib.contextmanager
def notebook(browser, lab, name):
    "A page with the notebook, all its cells started."
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(SLOW)
    try:
        page.goto(f"{lab.url}/doc/tree/{name}.ipynb", wait_until="domcontentloaded")
        page.wait_for_function(
            """() => { const w = window.jupyterapp?.shell?.currentWidget, s = w?.sessionContext?.session;
                                          return w?.context?.isReady && s?.kernel?.connectionStatus \
=== 'connected' && s.kernel.status === 'idle'; }"""
        )
        page.evaluate(
            "() => { window.jupyterapp.commands.execute('notebook:run-all-cells').then(well => { window.well"
            " = well; }); }"
        )
        yield page
    except Exception:
        keep(page, page.locator("body"), f"{name}-failed")
        raise
    finally:
        page.close()


def done(page):
    "Wait until all cells have run, and see that none failed."
    page.wait_for_function("() => 'well' in window", timeout=SLOW)
    assert page.evaluate("() => window.well"), page.locator(
        '[data-mime-type="application/vnd.jupyter.error"]'
    ).all_inner_texts()


def keep(page, box, name):
    if not os.environ.get("SEQREC_SCREENSHOTS"):
        return
    # figures are drawn after the text
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)
    box.scroll_into_view_if_needed()
    box.screenshot(path=str(Path(os.environ["SEQREC_SCREENSHOTS"]).resolve() / f"{name}.png"))


# as they are read on the page
def words(value):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", value)).split())


FIGURE = "name => JSON.stringify(document.querySelector(`.seqrec-${name} .js-plotly-plot`)?.data ?? [])"


def drawn(page, name, other_than="[]"):
    "What a plotly figure shows, once it shows something else."
    page.wait_for_function(f"([name, old]) => ({FIGURE})(name) !== old", arg=[name, other_than])
    return page.evaluate(FIGURE, name)


def turns(p, values_of):
    """Each control moved once, one after the other: its number, name, the place it moves to, and all values
    after that; then the presets.
    """
    values = dict(p.first)
    for number, (name, c) in enumerate(p.controls.items()):
        known = list(values_of[name])
        at = known.index(values[name])
        to = at + 1 if at + 1 < len(known) else at - 1
        values[name] = known[to]
        yield number, c, at, to, dict(values)


def in_lab(box, c, at, to):
    "Moves a control in JupyterLab by keyboard."
    if isinstance(c, Tick):
        return box.get_by_label(c.label, exact=True).press("Space")
    if getattr(c, "drop", False):
        return box.get_by_label(c.label, exact=True).select_option(c.text(c.values[to]))
    label = box.page.locator(".widget-label", has_text=re.compile(f"^{re.escape(c.label)}$"))
    handle = box.locator(".widget-hslider", has=label).locator(".noUi-handle")
    handle.focus()
    handle.press("ArrowRight" if to > at else "ArrowLeft")


@pytest.mark.parametrize("name", LAB)
def test_playground(browser, lab, name):
    "Keys move each control and presets set all: the line says what Python says, and the figure changes."
    from playwright.sync_api import expect

    p = playgrounds()[name]
    with notebook(browser, lab, name) as page:
        box, line = page.locator(f".seqrec-{name}"), page.locator(f".seqrec-status-{name}")
        done(page)
        expect(line).to_have_text(words(html.escape(p()[1])))
        figure = drawn(page, name)
        keep(page, box, name)
        for _, c, at, to, values in turns(p, {n: c.values for n, c in p.controls.items()}):
            in_lab(box, c, at, to)
            expect(line).to_have_text(words(html.escape(p(**values)[1])))
        box.get_by_role("button", name="break it").press("Enter")
        expect(line).to_have_text(words(html.escape(p(**p.presets["break it"])[1])))
        drawn(page, name, other_than=figure)
        keep(page, box, f"{name}-broken")


def typed(box, label, value):
    field = box.get_by_label(label, exact=True)
    field.press("Control+a")
    field.press_sequentially(value)
    field.press("Tab")


def test_studio(browser, lab):
    "A training, started, paused and resumed by keyboard, while the kernel is free; its run is stored."
    from playwright.sync_api import expect

    with notebook(browser, lab, "61_studio") as page:
        page.set_viewport_size({"width": 1300, "height": 1500})
        box = page.locator(".seqrec-studio")
        line, press = (
            box.locator(".seqrec-status-studio"),
            lambda name: box.get_by_role("button", name=name, exact=True).press("Enter"),
        )
        done(page)
        expect(line).to_have_text("nothing has been started yet")
        press("encoder: show")  # which unfolds it
        typed(box, "dim D", "0")
        expect(line).to_contain_text("refused: dim=0: a whole number, 1 or more")
        for label, value in {"epochs": "4", "dim D": "16"}.items():
            typed(box, label, value)
        expect(box.get_by_label("as code")).to_have_value(
            re.compile(r"run\(SASRec, 'builtin', dim=16.*epochs=4")
        )
        press("Pause")
        expect(line).to_contain_text("Pause: nothing is being trained")
        press("Start")
        expect(line).to_contain_text("SASRec, CE: starting")
        press("Pause")
        expect(line).to_contain_text("paused after epoch")
        press("Start")
        expect(line).to_contain_text("SASRec, CE is still being trained")
        # the notebook is free while the training runs
        kernel = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
        page.wait_for_function(f"() => {kernel}.status === 'idle'")
        keep(page, box, "studio-paused")
        press("Resume")
        expect(line).to_have_text(
            re.compile(
                r"SASRec, CE: stored (builtin-sasrec-0-\w+), best epoch \d of 4, test NDCG@10 \.\d{4}$"
            )
        )
        shown = json.loads(drawn(page, "studio"))
        assert all(len(t["x"]) for t in shown)
        assert {t["name"].partition(",")[0] for t in shown} == {"SASRec", "stored"}
        for text in ("this run", "stored, published settings", "the first user is recommended"):
            expect(box).to_contain_text(text)
        keep(page, box, "studio")
        stem = re.search(r"builtin-sasrec-0-\w+", line.inner_text())[0]
    run = load_run(lab.runs / f"{stem}.run")
    assert len(run.history) == 4 and run.settings["dim"] == 16 and not list(lab.runs.glob("*.checkpoint"))


PANEL = """from seqrec_nb.play.base import show
from seqrec_nb.play.studio import choices
from seqrec_nb.play.tuning import panel
show(lambda: panel(choices("builtin")["SASRec, CE"].but(dim=8, epochs=2, batch_size=512)))"""


def test_panel(browser, lab):
    "A number changed and tried by keyboard, then the published one to compare; both are shown."
    from playwright.sync_api import expect

    kernel = {"name": "python3", "display_name": "python3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(PANEL)]
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(made, lab.notebooks / "panel.ipynb")
    with notebook(browser, lab, "panel") as page:
        page.set_viewport_size({"width": 1300, "height": 1500})
        box, line = page.locator(".seqrec-panel"), page.locator(".seqrec-status-panel")
        done(page)
        expect(line).to_have_text("nothing has been started yet")
        box.get_by_role("button", name="training: show").press("Enter")
        typed(box, "lr", "0")
        box.get_by_role("button", name="Train", exact=True).press("Enter")
        expect(line).to_have_text("nothing has been started yet. Train: lr=0.0: a number, above 0")
        typed(box, "lr", "0.01")
        keep(page, box, "panel-before")
        box.get_by_role("button", name="Train", exact=True).press("Enter")
        expect(line).to_contain_text("SASRec, lr 0.01: ")
        expect(line).to_have_text(
            re.compile(r"SASRec, as published: stored builtin-sasrec-0-\w+, best epoch")
        )
        assert {t["name"] for t in json.loads(drawn(page, "panel")) if t["showlegend"]} == {
            "lr 0.01",
            "as published",
        }
        expect(box).to_contain_text("the first user is recommended")
        expect(box.get_by_label("as code")).to_have_value(re.compile(r"run\(SASRec, 'builtin', .*lr=0.01\)"))
        keep(page, box, "panel")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "A folder that is served on this machine, with the plotly.js that the pages of the site share."
    folder = tmp_path_factory.mktemp("site")
    (folder / "nbs").mkdir()
    subprocess.run(
        [sys.executable, ROOT / "tools" / "after_render.py"],
        env={**os.environ, "QUARTO_PROJECT_OUTPUT_DIR": str(folder)},
        check=True,
    )
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder / "nbs")
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield types.SimpleNamespace(folder=folder / "nbs", url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def on_page(page, number, c, to):
    "Moves a control of a page without a kernel by keyboard."
    control = page.locator(f'[data-control="{number}"]')
    if isinstance(c, Tick):
        return control.press("Space")
    if getattr(c, "drop", False):
        return control.select_option(str(to))
    control.press("ArrowRight" if to > int(control.input_value()) else "ArrowLeft")


@contextlib.contextmanager
def alone(browser, site, name, **look):
    "A page of the site with every other host blocked; nothing may fail on it."
    page = browser.new_page(**look)
    wrong, asked = [], []
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("requestfailed", lambda r: wrong.append(r.url))
    page.on("request", lambda r: asked.append(r.url))
    page.route(lambda url: not url.startswith((site.url, "data:", "blob:")), lambda route: route.abort())
    page.goto(f"{site.url}/{name}.html")
    page.wait_for_selector(".seqrec-plot .main-svg", timeout=SLOW)
    yield page
    assert not wrong and all(u.startswith((site.url, "data:", "blob:")) for u in asked), (wrong, asked)
    page.close()


def stub_of(name):  # what the filter makes of a cell, in the page of a renderer that is not there
    cell = {"cell_type": "code", "source": f"show({name})", "outputs": []}
    alive([cell])
    made = cell["outputs"][0]["data"]["text/markdown"].split("`````")[1].removeprefix("{=html}")
    head = "<!doctype html><html lang=en><meta charset=utf-8><title>site</title><link rel=icon href=data:,>"
    return f"{head}<body>{made}"


@pytest.mark.parametrize("name", SITE)
def test_a_page_without_a_kernel_is_alive(browser, site, name, monkeypatch):
    "By keyboard, with every other host blocked, on a wide screen, and on a phone's in the dark."
    monkeypatch.delenv("SEQREC_STILL")
    text, p = stub_of(name), playgrounds()[name]
    assert len(text) < 400_000
    (site.folder / f"{name}.html").write_text(text, encoding="utf-8")
    grid = {n: list(c.values) for n, c in p.controls.items()} if p.script else grid_of(p)
    with alone(browser, site, name, viewport={"width": 1300, "height": 900}) as page:
        told = page.locator('[role="status"]')
        assert told.inner_text() == words(html.escape(p()[1]))
        for number, c, _, to, values in turns(p, grid):
            on_page(page, number, c, to)
            assert told.inner_text() == words(html.escape(p(**values)[1])), values
        for preset, values in {**p.presets, "reset": {}}.items():
            page.locator(f'button[data-preset="{preset}"]').press("Enter")
            assert told.inner_text() == words(html.escape(p(**values)[1])), preset
        keep(page, page.locator(".seqrec-replay"), f"{name}-site")
    small = {"viewport": {"width": 390, "height": 900}, "reduced_motion": "reduce"}
    with alone(browser, site, name, **small) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.evaluate("document.body.style.background = '#222', document.body.className = 'quarto-dark'")
        page.locator("button[data-preset]").first.press("Enter")
        keep(page, page.locator(".seqrec-replay"), f"{name}-phone")


# in a playground: what scrolls sideways, titles of panels that are cut or lie on another, and what is black
LOOKS = """() => {
    const box = document.querySelector(".seqrec-replay");
    const inside = box.querySelector(".main-svg").getBoundingClientRect();
    const titles = [...box.querySelectorAll(".annotation-text-g")];
    const at = titles.map(e => e.getBoundingClientRect()).filter(r => r.width);
    const cut = at.filter(r => r.left < inside.left - 1 || r.right > inside.right + 1 || r.top < inside.top);
    const shared = (a, b, low, high) => Math.min(a[high], b[high]) - Math.max(a[low], b[low]) > 1;
    const on = (a, b) => shared(a, b, "left", "right") && shared(a, b, "top", "bottom");
    const fills = [...box.querySelectorAll(".main-svg text")].map(e => getComputedStyle(e).fill);
    const drawn = [...box.querySelectorAll("button, select, .xtick text, .ytick text, path.js-line")];
    const colours = drawn.map(e => {
        const s = getComputedStyle(e);
        return e.matches("path") ? s.stroke : e.matches("text") ? s.fill : s.color;
    });
    return {
        sideways: box.scrollWidth - box.clientWidth,
        cut: cut.length,
        over: at.filter((a, i) => at.slice(i + 1).some(b => on(a, b))).length,
        dark: colours.filter(c => c.match(/\\d+/g).slice(0, 3).every(x => x < 90)).length,
        ink: [...new Set(fills)].sort().join(),
        grid: [...box.querySelectorAll(".gridlayer path")].map(e => getComputedStyle(e).stroke),
    };
}"""


@pytest.mark.parametrize("name", SITE)
def test_a_playground_fits_its_page_and_its_theme(browser, site, name, monkeypatch):
    "Also where the theme changes, or the screen is turned, while it is open."
    monkeypatch.delenv("SEQREC_STILL")
    (site.folder / f"{name}.html").write_text(stub_of(name), encoding="utf-8")
    with alone(browser, site, name, viewport={"width": 700, "height": 900}) as page:
        light = page.evaluate(LOOKS)
        page.evaluate("document.body.style = 'background: #222; color: #fff'")
        page.evaluate("document.body.className = 'quarto-dark'")
        page.wait_for_function(f"old => ({LOOKS})().ink !== old", arg=light["ink"])
        page.set_viewport_size({"width": 390, "height": 900})
        page.wait_for_function("document.querySelector('.seqrec-replay .main-svg').clientWidth < 390")
        dark = page.evaluate(LOOKS)
        page.evaluate("document.body.className = 'quarto-light'")
        page.wait_for_function(f"old => ({LOOKS})().ink === old", arg=light["ink"])
    assert light["dark"] and not dark["dark"] and not {*light["grid"]} & {*dark["grid"]}
    assert not any(look[k] for look in (light, dark) for k in ("sideways", "cut", "over")), (light, dark)


@pytest.mark.parametrize("name", SITE)
def test_what_is_replayed_is_what_lives(name):
    p = playgrounds()[name]
    if p.script:
        pytest.skip("its states are computed on the page: test_node compares them")
    pack, grid = json.loads(json.dumps(recorded(p))), grid_of(p)
    states = list(itertools.product(*grid.values()))
    for number in {*range(0, len(states), max(1, len(states) // 20)), len(states) - 1}:
        figure, sentence = state_of(p, dict(zip(grid, states[number])))
        assert unpacked(pack, number) == (json.loads(json.dumps(figure)), sentence)
