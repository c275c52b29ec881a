PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.installed
# How long an idle OpenMP thread spins before it sleeps; read when torch is first imported.
export GOMP_SPINCOUNT ?= 10000

.PHONY: help demo test nbdev-test slow lab bench bench-grow export clean-nbs refresh readme docs
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: $(READY) ## train a small model and show what it recommends
	$(BIN)/seqrec demo

test: $(READY) ## all checks: export and clean leave no trace, every notebook runs, the site's sources agree
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

nbdev-test: $(READY) ## the notebooks alone, by nbdev's own runner
	$(BIN)/nbdev_test

slow: $(READY) ## what `make test` leaves out: cells marked `#| slow`, and the slow tests
	$(BIN)/python -m pytest -m slow

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab nbs/

bench: $(READY) ## show that a plain version does the same work, then time both; writes BENCHMARKS.md (minutes)
	$(BIN)/python benchmarks/equal.py
	PYTHON=$(abspath $(BIN)/python) benchmarks/recbole.sh || echo "RecBole could not be installed: its rows are left out"
	$(BIN)/python benchmarks/systems.py
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/report.py

bench-grow: $(READY) ## time training as users, items, rows and batches grow; adds it to BENCHMARKS.md (a quarter of an hour)
	$(BIN)/python benchmarks/grow.py
	$(BIN)/python benchmarks/report.py

export: $(READY) ## write the package from the notebooks
	$(BIN)/nbdev_export

clean-nbs: $(READY) ## strip execution counts and other noise from the notebooks
	$(BIN)/nbdev_clean

refresh: $(READY) ## execute notebooks and store their outputs: make refresh NB="21 40", or all
	$(BIN)/python tools/refresh.py $(NB)

readme: $(READY) ## write README.md from nbs/index.ipynb
	$(BIN)/python tools/make_readme.py

docs: $(READY) ## render the site to _docs/ (needs Quarto)
	@command -v quarto >/dev/null || { echo "Quarto is not on the PATH: see https://quarto.org/docs/get-started"; exit 1; }
	@# Quarto keeps filtered notebooks until the notebook changes; what the filter or the package changes it does not see
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/quarto/filtered-notebooks" ~/Library/Caches/quarto/filtered-notebooks
	PATH="$(CURDIR)/$(BIN):$$PATH" quarto render

# Touched last, so an interrupted installation is taken up again.
$(READY): settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "seqrec_nb needs Python 3.10 or newer. Name one with: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing seqrec_nb and its tools into .venv (about 2 GB; minutes the first time)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
