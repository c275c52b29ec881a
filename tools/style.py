"""Style: lines of 110 columns, one statement each, sorted imports, and what ruff finds besides.

    python tools/style.py          # say what is not so; exit status 1 if anything
    python tools/style.py --write  # mend what can be mended

The package is checked and not formatted: nbdev writes it from the notebooks, which are formatted.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WRITTEN = ["nbs", "tests", "benchmarks", "tools", "setup.py", "seqrec_nb/_quarto_filter.py"]


def ruff(*args) -> str:  # what it says where something is wrong, else ""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *args], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""


def wrong(write: bool = False) -> str:
    "What is not in style, as ruff says it; empty where all is."
    if write:
        ruff("check", "--fix", "--quiet", *WRITTEN)
        ruff("format", "--quiet", *WRITTEN)
    formatted = ruff("format", "--check", "--quiet", *WRITTEN)
    return ruff("check", "--quiet", "--output-format", "concise", *WRITTEN, "seqrec_nb") + formatted


if __name__ == "__main__":
    said = wrong("--write" in sys.argv[1:])
    print(said, end="")
    sys.exit(bool(said))
