"""What the pages "In production" say of time, measured on one thread.

python benchmarks/production.py [recommend artefact export serve train] [--users 100000] [--keep]

A shop of 130,000 users and 98,000 items with histories of random items, and a SASRec with random weights: the
time does not depend on what they are. `--keep` adds the rows to benchmarks/production.tsv.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from seqrec_nb.batches import user_rows
from seqrec_nb.data import Dataset
from seqrec_nb.evaluate import ranks
from seqrec_nb.methods.sampled import LargeSASRec
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.production.artefact import load_artefact, save_artefact
from seqrec_nb.production.export import ApproximateSearch
from seqrec_nb.production.recommend import best, recommend_to_file, recommend_users, rows_after_all
from seqrec_nb.runs import device_name
from seqrec_nb.train import Training, fast_cpu

HERE = Path(__file__).resolve().parent


def shop(users: int = 130_000, items: int = 98_000) -> Dataset:
    "Random histories of 4 to 200 items, 15 in the mean."
    rng = np.random.default_rng(0)
    n = np.minimum(3 + rng.geometric(1 / 12, users), 200)
    taken = torch.from_numpy(rng.integers(1, items + 1, n.sum()))
    offsets = torch.from_numpy(np.concatenate([[0], n.cumsum()]))
    ids = np.array(["", *(f"SKU{i:06d}" for i in range(1, items + 1))], dtype=object)
    return Dataset("a large shop", taken, offsets, ids, np.arange(users))


def model_of(ds: Dataset) -> SASRec:
    torch.manual_seed(0)
    model = SASRec(ds).eval()
    model.item_ids = ds.item_ids
    return model


def cpu_seconds(f):  # seconds, and what it returned
    began = time.process_time()
    made = f()
    return time.process_time() - began, made


def same(a, b) -> float:  # [R,k] items each
    "The share of the one's items that the other has."
    return round((a[:, :, None] == b[:, None]).any(2).double().mean().item(), 5)


def some_rows(ds: Dataset, users: int, n: int = 4096):
    return rows_after_all(ds, torch.arange(0, users, max(1, users // n)), 50)


def recommending(ds: Dataset, model, users: int):
    "All users, by sorting all scores and by blocks."
    few, ids = some_rows(ds, users), ds.user_ids[:users].tolist()

    def plainly():
        with torch.no_grad():
            for batch in few.batches(256):
                model.score(batch).scatter(1, batch.rows.seen(), -torch.inf).topk(10)

    times = {"all scores and topk": (cpu_seconds(plainly)[0] / len(few) * users, 1.0)}
    exact = best(model, few)[0]
    for what, precision in (("blocks, float32", "fp32"), ("blocks, chosen in bfloat16", "bf16")):
        spent = cpu_seconds(lambda: recommend_users(model, ds, ids, precision=precision))[0]
        times[what] = spent, same(exact, best(model, few, precision=precision)[0])
    with tempfile.TemporaryDirectory() as folder:
        to_file = cpu_seconds(lambda: recommend_to_file(f"{folder}/all.parquet", model, ds, ids))[0]
    times["blocks, float32, to Parquet"] = to_file, 1.0
    for what, (spent, share) in times.items():
        rate = {
            "CPU s for 100,000 users": round(spent / users * 1e5, 1),
            "users a second": round(users / spent),
        }
        yield {"page": "recommend", "what": what, **rate, "of the exact items": share}


def exporting(ds: Dataset, model, users: int):
    "An approximate index, by how many clusters it looks at."
    with tempfile.TemporaryDirectory() as folder:
        there = load_artefact(save_artefact(model, ds, f"{folder}/x.artefact"))
    few = some_rows(ds, users)
    spent, exact = cpu_seconds(lambda: best(model, few)[0])
    yield _export_row("blocks, exact", spent, len(few), 1.0, 0.0)
    for probes in (16, 64, 256):
        making, index = cpu_seconds(lambda: ApproximateSearch(there, probes=probes))
        spent, (items, _) = cpu_seconds(lambda: index.best(few, 10))
        yield _export_row(
            f"{probes} of {index.index.nlist} clusters", spent, len(few), same(exact, items), making
        )


def _export_row(what, spent, n, share, making) -> dict:
    found = {"CPU s for 100,000 users": round(spent / n * 1e5, 1), "of the exact items": share}
    return {"page": "export", "what": what, **found, "CPU s to make it": round(making, 1)}


LOADING = """
import sys, time, resource
start = time.perf_counter()
import torch
torch_there = time.perf_counter()
from seqrec_nb.production.artefact import load_artefact
ready = time.perf_counter()
shop = load_artefact(sys.argv[1])
loaded = time.perf_counter()
shop.recommend(["SKU000012", "SKU000345"])
end = time.perf_counter()
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(torch_there - start, ready - torch_there, loaded - ready, end - loaded, memory)
"""


def loading(ds: Dataset, model, users: int):
    "An artefact in a fresh process."
    with tempfile.TemporaryDirectory() as folder:
        path = save_artefact(model, ds, f"{folder}/x.artefact")
        size = path.stat().st_size / 1e6
        done = subprocess.run(
            [sys.executable, "-c", LOADING, path], capture_output=True, text=True, check=True
        )
    names = "import torch, s", "import the rest, s", "load, s", "first answer, s", "memory, MB"
    found = {n: round(float(x), 2) for n, x in zip(names, done.stdout.split())}
    yield {"page": "artefact", "what": "SASRec, 98,000 items", "file, MB": round(size, 1), **found}


SERVING = """
import sys, torch
from seqrec_nb.production.serve import serve
torch.set_num_threads(1)
serve(sys.argv[1], port=int(sys.argv[2]))
"""


async def _client(port: int, bodies: list, until: float, took: list):
    "Asks one question after the other over one connection."
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for n in range(10**6):
        body = bodies[n % len(bodies)]
        head = f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        began = time.perf_counter()
        if began > until:
            break
        writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        told = await reader.readuntil(b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 200"), told
        length = next(x for x in told.lower().split(b"\r\n") if x.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        took.append(time.perf_counter() - began)
    writer.close()


async def _load(port: int, clients: int, bodies: list, seconds: float) -> list:
    took, until = [], time.perf_counter() + seconds
    await asyncio.gather(*(_client(port, bodies[i:] + bodies[:i], until, took) for i in range(clients)))
    return took


def _cpu_of(pid: int) -> float:  # seconds that a process has computed, where the system says so
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return float("nan")
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def _up(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def serving(ds: Dataset, model, users: int, seconds: float = 5.0):
    "The service in a process of its own, asked over the loopback address."
    bodies = [json.dumps({"history": ds.item_ids[ds[u][-10:]].tolist()}).encode() for u in range(500)]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = save_artefact(model, ds, f"{folder}/x.artefact")
        command = [sys.executable, "-c", SERVING, str(path), str(port)]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            began = time.perf_counter()
            while not _up(port) and time.perf_counter() - began < 60:
                time.sleep(0.1)
            asyncio.run(_load(port, 4, bodies, 1.0))  # warm
            for clients in (1, 16, 64):
                before = _cpu_of(server.pid)
                took = np.array(asyncio.run(_load(port, clients, bodies, seconds))) * 1e3
                spent = (_cpu_of(server.pid) - before) / len(took)
                found = {"questions a second": round(len(took) / seconds)}
                found |= {"CPU ms a question": round(1e3 * spent, 2)}
                found |= {
                    f"{n}, ms": round(np.quantile(took, q), 1) for n, q in (("median", 0.5), ("p99", 0.99))
                }
                yield {"page": "serve", "what": f"{clients} clients", **found}
        finally:
            server.terminate()
            server.wait()


def training(ds: Dataset, model, users: int):
    "Steps of an epoch, over all items and over a sample, and one validation."
    rows = user_rows(ds)
    index = list(rows.in_parts(256, torch.Generator().manual_seed(0)))
    few = user_rows(ds, "valid")[torch.arange(10_000)]
    for what, objective, steps in (("all items", SASRec(ds), 3), ("512 drawn", LargeSASRec(ds), 30)):
        one = Training(objective, rows, batch_size=256)
        with fast_cpu():
            one.eager(index[0])  # what is made once
            spent, _ = cpu_seconds(lambda: [one.eager(i) for i in index[1 : steps + 1]])
        asked, _ = cpu_seconds(lambda: ranks(objective, few))
        found = {"CPU s an epoch": round(spent / steps * len(index), 1)}
        yield {"page": "scale", "what": what, **found, "CPU s to rank 10,000 users": round(asked, 1)}


PAGES = {"recommend": recommending, "artefact": loading, "export": exporting, "serve": serving}
PAGES["train"] = training


def add(rows: pd.DataFrame, path: Path = HERE / "production.tsv"):
    "Add rows to the file of all measurements."
    before = [pd.read_csv(path, sep="\t")] if path.exists() else []
    pd.concat([*before, rows]).to_csv(path, sep="\t", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", nargs="*", default=list(PAGES), help=", ".join(PAGES))
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--keep", action="store_true", help="add the rows to production.tsv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = shop()
    sasrec = model_of(data)
    for page in args.pages:
        found = pd.DataFrame(list(PAGES[page](data, sasrec, args.users)))
        print(found.drop(columns="page").to_string(index=False), flush=True)
        if args.keep:
            add(found.assign(machine=device_name()))
