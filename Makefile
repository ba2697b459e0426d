# Every habit of this repository by name. A fresh machine needs Python 3.11 or newer, nothing else.
#
#   make install         make the environment .venv (every other target does it where needed)
#   make book            build the book into _build/html and print the path of its start page
#   make quick           the unit tests that take no time: no book, no notebooks, under two minutes
#   make test            the book, all tests, then every notebook, in the same environment
#   make test-versions   the unit tests on the oldest and the newest versions that we support
#   make notebooks       run the notebooks from top to bottom and store their outputs in place
#   make bench           print the tables behind what is said about speed
#   make comparison      train and measure all detectors side by side: hours, goes on after a kill
#   make comparison-check   train three cells of its failure matrix anew, compare, store what came
#   make lint            ruff: check and formatting
#   make clean           remove what the build left (the environment .venv stays)
#
# NOTEBOOKS="chapters/01_foundations.ipynb" narrows `notebooks` and `test` to some notebooks;
# VERSIONS=oldest narrows `test-versions` to one of the two;
# PARTS="matrix" narrows `comparison` to some of its parts (steps live matrix table peers labels weights speed);
# BOOK_FLAGS="-W --keep-going" turns the warnings of the book's build into errors, as CI does.

BIN := .venv/bin
INSTALLED := .venv/.installed
NOTEBOOKS ?= $(sort $(wildcard chapters/*.ipynb))
BOOK_FLAGS ?=
VERSIONS ?= oldest newest
PARTS ?= steps live matrix table peers labels weights speed

.PHONY: install book quick test test-versions notebooks bench comparison comparison-check lint clean

# The stamp is written last: an installation that broke off is done again.
$(INSTALLED): requirements.txt pyproject.toml scripts/make_venv.sh scripts/find_python.sh
	@sh scripts/make_venv.sh .venv
	@touch $@

install: $(INSTALLED)

book: $(INSTALLED)
	@$(BIN)/jupyter-book build --quiet $(BOOK_FLAGS) .
	@echo "The book's start page: $(CURDIR)/_build/html/index.html"

quick: $(INSTALLED)
	@$(BIN)/python scripts/run_tests.py quick

# The book comes first because tests/browser opens it.
test: book
	@$(BIN)/python scripts/run_tests.py all $(NOTEBOOKS)

# In environments of their own, so .venv is neither needed nor touched.
test-versions:
	@sh scripts/test_versions.sh $(VERSIONS)

notebooks: $(INSTALLED)
	@$(BIN)/python scripts/notebooks.py run $(NOTEBOOKS)

bench: $(INSTALLED)
	@for script in benchmarks/*.py; do \
		echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

comparison: $(INSTALLED)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/experiments/comparison.py --parts $(PARTS)

comparison-check: $(INSTALLED)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/experiments/comparison.py --check

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

clean:
	rm -rf _build build .pytest_cache .ruff_cache .hypothesis .jupyter_cache
	find . -name __pycache__ -not -path './.v*/*' -prune -exec rm -rf {} +
