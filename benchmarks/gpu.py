"""Everything that is to be measured on one GPU, in calls of some minutes, each going on with the last.

    python benchmarks/gpu.py --data FOLDER --minutes 9 --out OUT
    python benchmarks/gpu.py --data FOLDER --minutes 9 --out OUT2 --resume OUT

A row is written as soon as it is known, to OUT/gpu.jsonl; runs and their checkpoints lie in OUT/runs. At the
end all of it is packed into OUT/seqrec-gpu.tar.gz, which `seqrec merge` reads, and `--resume`, and
`report.py --gpu`. Needed are torch, numpy, pandas, scipy, safetensors and matplotlib, and no installation:
it runs from a checkout. `--device cpu --tiny` rehearses it.
"""

import argparse
import importlib
import inspect
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import time
import traceback
import types
from concurrent.futures import ThreadPoolExecutor
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest.mock import MagicMock

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ABSENT = (
    "IPython",
    "seaborn",
    "ipywidgets",
    "plotly",
    "umap",
    "faiss",
    "pooch",
    "execnb",
    "nbdev",
    "fastcore",
)
TQDM = """
class tqdm:
    def __init__(self, *args, **kw): pass
    def __enter__(self): return self
    def __exit__(self, *args): pass
    def update(self, *args): pass
    def set_postfix(self, *args, **kw): pass
"""


def there(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def stand_ins(folder: Path):
    "A progress bar that shows nothing, where tqdm is not installed; processes that are started find it too."
    if not there("tqdm.auto"):
        (folder / "tqdm").mkdir(parents=True, exist_ok=True)
        for name in ("__init__", "auto"):
            (folder / "tqdm" / f"{name}.py").write_text(TQDM)
        sys.path.append(str(folder))
    paths = [str(ROOT), str(HERE), str(folder), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    sys.path[:0] = [str(ROOT), str(HERE)]


class Rows:
    "What is known: a line of JSON each, of which one with an error is tried again by the next call."

    def __init__(self, path: Path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.known = {r["key"]: r for r in map(json.loads, lines)}

    def done(self, key: str) -> bool:
        return key in self.known and "error" not in self.known[key]

    def add(self, key: str, figures: dict):
        row = {"key": key, **self.about, "at": time.strftime("%Y-%m-%d %H:%M:%S"), **figures}
        self.known[key] = row
        with open(self.path, "a") as f:
            print(json.dumps(row), file=f, flush=True)
        print(key, {k: v for k, v in figures.items() if k != "where"}, flush=True)


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.resume:
        go_on_from(args.resume, args.out)
    stand_ins(args.out / ".stand_ins")
    if args.data:
        os.environ["SEQREC_DATA"] = str(args.data.resolve())
    os.environ["SEQREC_RUNS"] = str((args.out / "runs").resolve())
    if args.page:
        return page(args.page)
    end = time.monotonic() + 60 * args.minutes
    rows = Rows(args.out / "gpu.jsonl")
    rows.about = about(args.device)
    for key, least, job in jobs(args, end):
        if rows.done(key) or end - time.monotonic() < least:
            continue
        try:
            rows.add(key, job())
        except Exception as e:
            where = traceback.format_exc().splitlines()[-12:]
            rows.add(key, {"error": f"{type(e).__name__}: {e}"[:500], "where": where})
    queue(args, end)
    print(pack(args.out))


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder with the datasets; default: SEQREC_DATA")
    parser.add_argument(
        "--out", type=Path, default=Path(os.environ.get("OUT", "gpu")), help="for the results"
    )
    parser.add_argument("--resume", type=Path, help="the folder, or the archive, of an earlier call")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the built-in dataset, small models, few steps")
    parser.add_argument("--only", default="", help="keys that begin so, such as 'systems'")
    parser.add_argument("--page", help=argparse.SUPPRESS)
    return parser.parse_args()


def about(device: str) -> dict:
    import torch

    from seqrec_nb.runs import code_version, device_name

    return {"device": device_name(device), "torch": torch.__version__, "code": code_version()}


def go_on_from(before: Path, out: Path):
    "Rows, runs and checkpoints of an earlier call, copied."
    if before.is_file():
        with tarfile.open(before) as tar:
            tar.extractall(out, filter="data")
    else:  # also one that was cut off before it packed
        (out / "runs").mkdir(exist_ok=True)
        for path in [before / "gpu.jsonl", *(before / "runs").glob("*.*")]:
            if path.exists():
                shutil.copy2(path, out / path.relative_to(before))


def pack(out: Path) -> Path:
    archive = out / "seqrec-gpu.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in [out / "gpu.jsonl", *sorted((out / "runs").glob("*.*"))]:
            if path.exists():
                tar.add(path, path.relative_to(out))
    return archive


# What is done, in order: key, least seconds that must be left, function -> figures


def jobs(args, end):
    todo = [*kernels(args), *several(args), *system_jobs(args, end), *pages(args), *trainings(args)]
    return [j for j in todo if j[0].startswith(args.only)]


def wait_for(device: str):
    import torch

    return torch.cuda.synchronize if device == "cuda" else (lambda: None)


def timed(step, device: str, budget: float) -> float:  # seconds a step, the median of some rounds
    wait, rounds = wait_for(device), []
    for _ in range(2):
        step()
    wait()
    end = time.perf_counter() + budget
    n = 1 if budget == 0 else 10
    while not rounds or time.perf_counter() < end:
        began = time.perf_counter()
        for _ in range(n):
            step()
        wait()
        rounds.append((time.perf_counter() - began) / n)
    return sorted(rounds)[len(rounds) // 2]


# Every system


VARIANTS = [
    ("recorded", "fp32"),
    ("eager", "fp32"),
    ("naive", "fp32"),
    ("recorded", "bf16"),
    ("recorded", "tf32"),
    ("eager", "bf16"),
]
SMALL = dict(dim=8, hidden=8, layers=1, heads=1, max_len=5, n_clusters=4)


def experiments(args) -> dict:
    from seqrec_nb.study.systems import first_trainings

    found = first_trainings("builtin" if args.tiny else "beauty")
    if not args.tiny:
        return found
    return {name: e.but(**{k: v for k, v in SMALL.items() if e.has(k)}) for name, e in found.items()}


def dataset(args, device=None):
    from seqrec_nb.data import load

    return load("builtin" if args.tiny else "beauty").to(device or args.device)


def made(args, e, ds, seed=0, precision="fp32"):
    import torch

    from seqrec_nb.train import Training

    torch.manual_seed(seed)
    rows = e.rows(ds, max_len=e.max_len)
    if args.tiny:
        rows = rows[torch.arange(min(len(rows), 100), device=rows.device)]
    t = e.training
    how = dict(batch_size=16 if args.tiny else t.batch_size, lr=t.lr, step=t.step, seed=seed)
    return Training(e.method(ds, e.config).to(ds.device), rows, **how, precision=precision)


def stepper(args, training, how: str):  # a function that does one step after the other
    from seqrec_nb.gpu import CapturedStep, CudaGraph, Recorded

    t = training
    if how == "recorded":
        t.one = CapturedStep(t, CudaGraph if args.device == "cuda" else Recorded, strict=True)
    else:
        t.one = t.eager

    def indices():
        while True:
            for index in t.rows.in_parts(t.batch_size, t.generator):
                if len(index) == t.batch_size:
                    yield index

    following = indices()

    def step():
        terms = t.one(next(following))
        if how == "naive":
            return [x.item() for x in terms.values()]

    return step


def epoch_of(args, e, how: str, precision: str, epoch: int = 1) -> dict:
    "Seconds of an epoch, from those of its beginning and of a step; and the memory that it takes."
    import torch

    from seqrec_nb.batches import rectangles
    from seqrec_nb.train import products_in

    cuda = args.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with rectangles():
        t = made(args, e, dataset(args), precision=precision)
        t.epoch = t.objective.epoch = epoch
        with products_in(precision):
            t.objective.train().on_epoch(epoch, t.rows)  # what is made once
            wait_for(args.device)()
            began = time.perf_counter()
            t.objective.on_epoch(epoch, t.rows)
            wait_for(args.device)()
            begin = time.perf_counter() - began
            step = timed(stepper(args, t, how), args.device, 0 if args.tiny else 1.5)
    steps = math.ceil(len(t.rows) / t.batch_size)
    memory = {"peak_mb": torch.cuda.max_memory_allocated() / 2**20} if cuda else {}
    figures = {"begin": begin, "step": step, "steps": steps, "epoch": begin + steps * step}
    return {"how": how, "precision": precision, **figures, **memory}


def system_jobs(args, end):
    found = experiments(args)
    late = {"FENRec": 21}  # after its warm-up
    for how, precision in VARIANTS[::2] if args.tiny else VARIANTS:
        for name, e in found.items():
            key = f"systems/{name}/{how}/{precision}"
            yield key, 15, lambda e=e, h=how, p=precision: epoch_of(args, e, h, p)
            if name in late:
                k = f"systems/{name}, after its warm-up/{how}/{precision}"
                yield k, 20, lambda e=e, h=how, p=precision, n=name: epoch_of(args, e, h, p, late[n])
    for name in ("SASRec, BCE", "CL4SRec, BCE"):
        yield f"systems/{name}/plain/fp32", 30, lambda n=name: plain_epoch(args, n)


def plain_side():  # the module
    "It names faiss at its top, which what is timed here does not need."
    missing = not there("faiss")
    if missing:
        sys.modules["faiss"] = types.ModuleType("faiss")
    import plain

    if missing:
        del sys.modules["faiss"]
    return plain


def plain_epoch(args, name: str) -> dict:
    "The same work as it is usually written: rows made one by one, a model that is moved to the device."
    import torch
    from torch.utils.data import DataLoader

    plain = plain_side()

    ds = dataset(args, "cpu")
    sequences = [s.tolist() for s in ds]
    users = plain.Users(sequences, ds.n_items, views=name.startswith("CL4SRec"))
    loss = plain.cl4srec if name.startswith("CL4SRec") else plain.sasrec_bce
    size = 16 if args.tiny else 256
    torch.manual_seed(0)
    model = plain.Model(ds.n_items).to(args.device)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)

    def batches():
        while True:
            yield from DataLoader(
                users, size, shuffle=True, drop_last=True, num_workers=0 if args.tiny else 4
            )

    following = batches()

    def step():
        batch = [x.to(args.device) for x in next(following)]
        with torch.device(args.device):
            value = loss(model, *batch)
            opt.zero_grad()
            value.backward()
        opt.step()
        return value.item()

    seconds, steps = timed(step, args.device, 0 if args.tiny else 4), math.ceil(len(users) / size)
    return {"how": "plain", "precision": "fp32", "step": seconds, "steps": steps, "epoch": steps * seconds}


# Pieces


def kernels(args):
    import torch

    def attention_case(dtype, how):
        import torch.nn.functional as F

        from seqrec_nb.nn.encoders import attention_mask

        g = torch.Generator().manual_seed(0)
        rows = dataset(args, "cpu")
        length = (rows.lengths - 3).clamp(1, 50)[torch.randperm(len(rows), generator=g)[:256]]
        B, W, H, D = len(length), 50, 2, 32
        if how == "padded":
            q, k, v = torch.randn(3, B, H, W, D, device=args.device, dtype=dtype, requires_grad=True)
            real = torch.arange(W) >= W - length[:, None]
            mask = attention_mask(real.to(args.device), dtype=dtype)

            def step():
                F.scaled_dot_product_attention(q, k, v, mask).sum().backward()
        else:
            from torch.nn.attention.varlen import varlen_attn

            known = inspect.signature(varlen_attn).parameters  # its way of saying it has changed
            backwards = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
            ends = F.pad(length.cumsum(0), (1, 0)).to(args.device, torch.int32)
            n = int(length.sum())
            q, k, v = torch.randn(3, n, H, D, device=args.device, dtype=dtype, requires_grad=True)

            def step():
                varlen_attn(q, k, v, ends, ends, W, W, **backwards).sum().backward()

        return {"how": how, "dtype": str(dtype), "step": timed(step, args.device, 0 if args.tiny else 1)}

    for dtype in (torch.float32, torch.bfloat16):
        for how in ("padded", "variable length") if dtype == torch.bfloat16 else ("padded",):
            key = f"attention/{how}/{str(dtype).removeprefix('torch.')}"
            yield key, 10, lambda d=dtype, h=how: attention_case(d, h)
    for how in ("whole", "in chunks", "liger"):
        for positions in (1466, 12800):
            n = 64 if args.tiny else positions
            yield f"cross-entropy/{how}/{positions}", 10, lambda h=how, n=n: cross_entropy_case(args, h, n)
    yield "ranking", 15, lambda: ranking(args)


def cross_entropy_case(args, how: str, positions: int) -> dict:
    import torch
    import torch.nn.functional as F

    from seqrec_nb.nn.losses import cross_entropy

    items = 100 if args.tiny else 12103
    torch.manual_seed(0)
    h = torch.randn(positions, 64, device=args.device, requires_grad=True)
    table = torch.randn(items, 64, device=args.device, requires_grad=True)
    target = torch.randint(1, items - 1, (positions,), device=args.device)
    if how == "liger":
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        fused = LigerFusedLinearCrossEntropyLoss()
    losses = {
        "whole": lambda: F.cross_entropy(h @ table.T, target),
        "in chunks": lambda: cross_entropy(h, table, target),
        "liger": lambda: fused(table, h, target),
    }
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = timed(lambda: losses[how]().backward(), args.device, 0 if args.tiny else 1)
    memory = {"peak_mb": torch.cuda.max_memory_allocated() / 2**20} if args.device == "cuda" else {}
    return {"how": how, "positions": positions, "items": items, "step": seconds, **memory}


def ranking(args) -> dict:
    from seqrec_nb.batches import rectangles, user_rows
    from seqrec_nb.evaluate import ranks
    from seqrec_nb.methods.sasrec import SASRec

    ds = dataset(args)
    model, test = SASRec(ds).to(args.device), user_rows(ds, "test")
    with rectangles():
        seconds = timed(lambda: ranks(model, test), args.device, 0 if args.tiny else 3)
    return {"users": len(test), "items": ds.n_items, "seconds": seconds}


def several(args):
    "Eight seeds as one model, beside one."
    yield "seeds/1", 15, lambda: seeds(args, 1)
    yield "seeds/8", 20, lambda: seeds(args, 8)


def seeds(args, n: int) -> dict:
    import torch

    from seqrec_nb.batches import rectangles
    from seqrec_nb.gpu import CapturedStep, CudaGraph, Recorded
    from seqrec_nb.stacked import Stack

    ds, e = dataset(args), experiments(args)["SASRec, BCE"]
    with rectangles():
        stack = Stack([made(args, e, ds, seed) for seed in range(n)])
        stack.epoch = 1
        stack.one = CapturedStep(stack, CudaGraph if args.device == "cuda" else Recorded, strict=True)
        size = stack.batch_size
        index = torch.stack([torch.randperm(len(stack.rows), device=ds.device)[:size] for _ in range(n)], 1)
        step = timed(lambda: stack.one(index), args.device, 0 if args.tiny else 2)
    steps = math.ceil(len(stack.rows) / size)
    return {"seeds": n, "step": step, "steps": steps, "epoch": steps * step}


# The cells of the notebooks that need a GPU


def pages(args):
    if args.tiny or args.device != "cuda":
        marked = [ROOT / "nbs" / "08_adversary.ipynb"]
    else:
        marked = [p for p in sorted((ROOT / "nbs").glob("*.ipynb")) if "#| cuda" in p.read_text()]

    def all_pages():
        command = [sys.executable, __file__, "--device", args.device, "--out", str(args.out), "--page"]
        data = ["--data", str(args.data)] if args.data else []

        def one(path):
            done = subprocess.run([*command, str(path), *data], capture_output=True, text=True, timeout=300)
            last = done.stdout.strip().splitlines()[-1:] or [json.dumps({"error": done.stderr[-300:]})]
            return json.loads(last[0])

        with ThreadPoolExecutor(4) as pool:
            return dict(zip([p.stem for p in marked], pool.map(one, marked)))

    yield "pages", 180 if args.device == "cuda" else 20, all_pages


class StandIns(MetaPathFinder, Loader):
    "Packages that only show something, where they are not installed."

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in ABSENT else None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module):
        pass


def page(path: str):
    "Runs the cells of a notebook that need no GPU as far as they go, then those that do; says what came out."
    import torch

    sys.meta_path.append(StandIns())
    os.chdir(Path(path).parent)
    names, said = {"display": print}, {}
    out, sys.stdout = sys.stdout, open(os.devnull, "w")
    for i, cell in enumerate(json.loads(Path(path).read_text())["cells"]):
        code = "".join(cell["source"])
        marks = [line for line in code.splitlines()[:4] if line.startswith("#|")]
        if cell["cell_type"] != "code" or any("slow" in m or "eval: false" in m for m in marks):
            continue
        wants_card = any("cuda" in m for m in marks)
        if wants_card and not torch.cuda.is_available():
            said[i] = "no card"
            continue
        try:
            exec(compile(code, f"{Path(path).name}, cell {i}", "exec"), names)
            said |= {i: "passed"} if wants_card else {}
        except Exception as e:
            said |= {i: f"{type(e).__name__}: {e}"[:300]} if wants_card else {}
    print(json.dumps(said), file=out, flush=True)


# Whole trainings


def trainings(args):
    def one(what, **how):
        from seqrec_nb.evaluate import metrics
        from seqrec_nb.runs import run

        r = run(what, device=args.device, folder=args.out / "runs", progress=False, **how)
        found = {k: metrics(r.ranks)[k] for k in ("HR@10", "NDCG@10")}
        return {"run": r.path.stem, "seconds": r.about["seconds"], "epochs": len(r.about["history"]), **found}

    e = experiments(args)["SASRec, BCE"]
    usual = dict(epochs=2, patience=2) if args.tiny else {}
    yield "trained/SASRec, BCE", 60 if not args.tiny else 5, lambda: one(e, **usual)
    if not args.tiny:
        from seqrec_nb.methods.sasrec import SASRec

        how = dict(loss="ce", max_len=200, epochs=100, patience=100)
        yield "trained/SASRec, CE, ML-1M, 100 epochs", 100, lambda: one(SASRec, dataset="ml-1m", **how)


def queue(args, end):
    "What is left of the time goes to the studies."
    left = end - time.monotonic()
    if args.tiny or args.only or left < 60:
        return
    from seqrec_nb.study.queue import open_experiments, work_through

    work_through(open_experiments("beauty"), left / 3600, folder=args.out / "runs", device=args.device)


if __name__ == "__main__":
    main()
