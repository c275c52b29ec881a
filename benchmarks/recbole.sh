#!/bin/sh
# An environment with RecBole 1.2.1, the package that `systems.py` compares with: benchmarks/.recbole, about 1.5 GB.
# NumPy and SciPy are held back to what that release was written for; torch is the one of constraints.txt.
set -e
cd "$(dirname "$0")"
test -x .recbole/bin/pip || "${PYTHON:-python3}" -m venv .recbole
.recbole/bin/python -m pip install --disable-pip-version-check -c ../constraints.txt recbole==1.2.1 "numpy<2" "pandas<3" "scipy<1.13" "setuptools<81"
