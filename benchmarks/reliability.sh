#!/usr/bin/env bash
# What RELIABILITY.md says, measured once more. Takes about an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
$python -m pytest -m slow -s -q tests/test_malformed.py tests/test_end_to_end.py
$python -m pytest -s -q tests/test_resume.py tests/test_queue.py tests/test_crafted.py tests/test_download.py
$python benchmarks/mutants.py 05 06 07 11 --each 60
