"""The playgrounds where they are used: in JupyterLab, in a browser, by keyboard.

`SEQREC_SCREENSHOTS=folder` keeps a picture of each playground."""

import ast
import contextlib
import functools
import html
import http.server
import importlib.util
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

import pytest
from seqrec_nb.play.widgets import MOVES, PLAYGROUNDS

from seqrec_nb._quarto_filter import alive
from seqrec_nb.runs import load_run

ROOT = Path(__file__).parent.parent
NOTEBOOKS = "60_playground", "61_studio"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = ("playwright", "jupyterlab", "ipywidgets", "plotly", "anywidget", "jscatter")
missing = ["a browser (Debian: apt-get install chromium)"] * (not CHROMIUM) + [
    f"the Python package {o}" for o in NEEDED if not importlib.util.find_spec(o)
]
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


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "JupyterLab on copies of the notebooks, with settings of its own: where it is, and where its runs go."
    tmp = tmp_path_factory.mktemp("lab")
    (tmp / "nbs").mkdir()
    for name in NOTEBOOKS:
        only_needed(Path(shutil.copy(ROOT / "nbs" / f"{name}.ipynb", tmp / "nbs")))
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
        yield types.SimpleNamespace(url=url, runs=Path(os.environ["SEQREC_RUNS"]))
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


def moved(control, key):  # what the key does to it, from Python
    step = 1 if key in ("ArrowRight", "ArrowUp") else -1
    if hasattr(control, "index"):
        control.index += step
    else:
        control.value += step * control.step


FIGURE = "name => JSON.stringify(document.querySelector(`.seqrec-${name} .js-plotly-plot`)?.data ?? [])"


def drawn(page, name, other_than="[]"):
    "What a plotly figure shows, once it shows something else."
    page.wait_for_function(f"([name, old]) => ({FIGURE})(name) !== old", arg=[name, other_than])
    return page.evaluate(FIGURE, name)


@pytest.fixture(scope="module")
def playgrounds(browser, lab):
    with notebook(browser, lab, "60_playground") as page:
        yield page


@pytest.mark.parametrize("name", MOVES)
def test_playground(playgrounds, name):
    """A key moves a control, a button breaks it; the line below says what a twin of the playground says in
    Python, and the figure changes.
    """
    from playwright.sync_api import expect

    twin, (label, key) = PLAYGROUNDS[name](), MOVES[name]
    said = [words(twin.status.value)]
    moved(next(c for c in twin.controls.values() if c.description == label), key)
    said.append(words(twin.status.value))
    twin.buttons["break it"].click()
    said.append(words(twin.status.value))
    assert len(set(said)) == 3, said
    box = playgrounds.locator(f".seqrec-playground.seqrec-{name}")
    line = box.locator(f".seqrec-status-{name}")
    done(playgrounds)
    expect(line).to_have_text(said[0])
    if name == "maps":
        expect(box.locator("canvas").first).to_be_visible()
    else:
        figure = drawn(playgrounds, name)
    keep(playgrounds, box, name)
    handle = box.locator(
        ".widget-hslider",
        has=playgrounds.locator(".widget-label", has_text=re.compile(f"^{re.escape(label)}$")),
    ).locator(".noUi-handle")
    handle.focus()
    handle.press(key)
    expect(line).to_have_text(said[1])
    button = box.get_by_role("button", name="break it")
    button.focus()
    button.press("Enter")
    expect(line).to_have_text(said[2])
    if name != "maps":
        drawn(playgrounds, name, other_than=figure)
    keep(playgrounds, box, f"{name}-broken")


def test_studio(browser, lab):
    "A training, started, paused and resumed by keyboard, while the kernel is free; its run is stored."
    from playwright.sync_api import expect

    with notebook(browser, lab, "61_studio") as page:
        box = page.locator(".seqrec-studio")
        line, press = (
            box.locator(".seqrec-status-studio"),
            lambda name: box.get_by_role("button", name=name, exact=True).press("Enter"),
        )
        done(page)
        expect(line).to_have_text("nothing has been started yet")
        for label, value in {"epochs": "4", "dim": "16"}.items():
            field = box.get_by_label(label, exact=True)
            field.press("Control+a")
            field.press_sequentially(value)
            field.press("Tab")
        press("Pause")
        expect(line).to_contain_text("Pause: nothing is being trained")
        press("Start")
        expect(line).to_contain_text("SASRec, CE: starting")
        press("Pause")
        expect(line).to_contain_text("paused after epoch")
        press("Start")
        expect(line).to_contain_text("SASRec, CE is still being trained")
        assert (
            page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status")
            == "idle"
        )
        keep(page, box, "studio-paused")
        press("Resume")
        expect(line).to_have_text(
            re.compile(
                r"SASRec, CE: stored (builtin-sasrec-0-\w+), best epoch \d of 4, test NDCG@10 \.\d{4}$"
            )
        )
        assert all(len(t["x"]) for t in json.loads(drawn(page, "studio")))
        keep(page, box, "studio")
        stem = re.search(r"builtin-sasrec-0-\w+", line.inner_text())[0]
    run = load_run(lab.runs / f"{stem}.run")
    assert len(run.history) == 4 and run.settings["dim"] == 16 and not list(lab.runs.glob("*.checkpoint"))


STILL_WITHOUT_KERNEL = {"maps"}  # drawn by a widget that needs one
QUICK = ["sinkhorn", "attack", "head"]  # whose states are computed in seconds; the others are slow
REPLAYED = [
    pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow)
    for n in PLAYGROUNDS
    if n not in STILL_WITHOUT_KERNEL
]


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


@pytest.mark.parametrize("name", REPLAYED)
def test_a_page_without_a_kernel_is_alive(browser, site, name, monkeypatch):
    "By keyboard, with every other host blocked, on a wide screen and on a phone's."
    monkeypatch.delenv("SEQREC_STILL")
    cell = {"cell_type": "code", "source": f"show(play_{name}())", "outputs": []}
    alive([cell])
    page_text = cell["outputs"][0]["data"]["text/html"]
    assert len(page_text) < 400_000
    head = "<!doctype html><html lang=en><meta charset=utf-8><title>site</title><link rel=icon href=data:,>"
    (site.folder / f"{name}.html").write_text(f"{head}<body>{page_text}", encoding="utf-8")
    for width in (1300, 390):
        page = browser.new_page(viewport={"width": width, "height": 900})
        wrong, asked = [], []
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("requestfailed", lambda r: wrong.append(r.url))
        page.on("request", lambda r: asked.append(r.url))
        page.route(lambda url: not url.startswith((site.url, "data:", "blob:")), lambda route: route.abort())
        page.goto(f"{site.url}/{name}.html")
        page.wait_for_selector(".seqrec-plot .main-svg", timeout=SLOW)
        told = page.locator('[role="status"]')
        label, key = MOVES[name]
        control = page.get_by_label(label).first
        before = told.inner_text()
        control.focus()
        control.press(key)
        assert told.inner_text() != before
        page.get_by_role("button", name="reset").click()
        assert told.inner_text() == before
        page.locator("button[data-preset]").first.click()
        assert told.inner_text() != before
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert not wrong and all(u.startswith((site.url, "data:", "blob:")) for u in asked), (wrong, asked)
        page.close()
