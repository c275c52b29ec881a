"""Would the notebooks notice a mistake? Change one operator, number or condition of an exported cell, run the
notebook, and see whether a check fails. What survives is printed, to be killed by a check or explained.

    python benchmarks/mutants.py 05 06 07 11 --each 60

Each mutant runs in a process of its own, which shares what was imported. A mutant that runs for five times as
long as the notebook itself counts as noticed.
"""

import argparse
import ast
import copy
import json
import os
import random
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OTHER = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def places(tree) -> list:  # (node, what is done to it)
    "Where a mistake may be made. Texts, annotations, checks and defaults of settings are left alone."
    found = []

    def visit(node):
        if isinstance(node, (ast.Raise, ast.Assert, ast.AnnAssign)):
            return
        if isinstance(node, ast.FunctionDef) and node.name.removeprefix("_").startswith("check"):
            return
        if isinstance(node, ast.BinOp) and type(node.op) in OTHER:
            found.append((node, "op"))
        elif isinstance(node, ast.BoolOp):
            found.append((node, "op"))
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
            found.append((node, "ops"))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            found.append((node, "value"))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
            found.append((node, "operand"))
        for name, part in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            for x in part if isinstance(part, list) else [part]:
                if isinstance(x, ast.AST):
                    visit(x)

    visit(tree)
    return found


def mutated(source: str, which: int) -> tuple[str, str]:  # the cell's text, and what was changed
    tree = ast.parse(source)
    node, what = places(tree)[which]
    before = ast.unparse(node)
    if what == "op":
        node.op = OTHER[type(node.op)]()
    elif what == "ops":
        node.ops[0] = OTHER[type(node.ops[0])]()
    elif what == "value":
        node.value = node.value + 1 if isinstance(node.value, int) else node.value * 1.5 + 0.1
    else:
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
        if isinstance(node.op, ast.Not):
            node.operand = ast.UnaryOp(ast.Not(), copy.deepcopy(node.operand))
    after = ast.unparse(node)
    return ast.unparse(tree), f"line {node.lineno}: {before} -> {after}"


def cells_of(path: Path) -> list[str]:
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    texts = ["".join(c["source"]) for c in cells]
    return [t for t in texts if not any(o in t for o in ("#| slow", "#| cuda", "eval: false"))]


def is_exported(text: str) -> bool:
    return text.startswith(("#| export", "#| exports")) and "def " in text


def notices(path: Path, cells: list[str]) -> bool:
    "Runs the cells; whether one of them stops with an error."
    from execnb.shell import CaptureShell

    warnings.simplefilter("ignore")
    os.chdir(path.parent)
    shell = CaptureShell()
    for text in cells:
        shell.run(text)
        if shell.exc:
            return True
    return False


def in_another(path: Path, cells: list[str], seconds: float) -> bool:  # as `notices`
    pid = os.fork()
    if not pid:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(int(notices(path, cells)))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status != 0
        time.sleep(0.05)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return True


def survivors(path: Path, each: int, seed: int) -> tuple[int, list[str]]:  # mutants, and who survived
    cells = cells_of(path)
    began = time.monotonic()
    if in_another(path, cells, 600):
        raise RuntimeError(f"{path.name} stops as it is: mend it first")
    own = time.monotonic() - began
    all_of = [
        (i, k)
        for i, text in enumerate(cells)
        if is_exported(text)
        for k in range(len(places(ast.parse(text))))
    ]
    chosen = random.Random(seed).sample(all_of, min(each, len(all_of)))
    left = []
    for i, k in chosen:
        text, what = mutated(cells[i], k)
        if not in_another(path, [*cells[:i], text, *cells[i + 1 :]], 5 * own + 10):
            name = next(line for line in cells[i].splitlines() if line.startswith(("def ", "class ")))
            left.append(f"{name.split('(')[0]}, {what}")
            print(f"  survived: {left[-1]}", flush=True)
    return len(chosen), left


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", help="numbers, such as 05")
    parser.add_argument("--each", type=int, default=60, help="mutants of each notebook")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import torch  # noqa: F401, once for all processes

    torch.set_num_threads(1)
    for number in args.notebooks:
        (path,) = (ROOT / "nbs").glob(f"{number}_*.ipynb")
        n, left = survivors(path, args.each, args.seed)
        print(f"{path.name}: {n - len(left)} of {n} noticed, seed {args.seed}", flush=True)


if __name__ == "__main__":
    main()
