# Every habit of this repository by name. A fresh machine needs Python 3.11 or newer, nothing else.
#
#   make book        build the book into _build/html and print the path of its start page
#   make test        run the tests, then every notebook, in the same environment
#   make notebooks   run the notebooks from top to bottom and store their outputs in place
#   make bench       print the tables behind what is said about speed
#   make lint        ruff: check and formatting
#   make clean       remove what the build left (the environment .venv stays)
#
# NOTEBOOKS="chapters/01_foundations.ipynb" narrows `notebooks` and `test` to some notebooks;
# BOOK_FLAGS="-W --keep-going" turns the warnings of the book's build into errors, as CI does.

BIN := .venv/bin
INSTALLED := .venv/.installed
NOTEBOOKS ?= $(sort $(wildcard chapters/*.ipynb))
BOOK_FLAGS ?=
CELL_TIMEOUT ?= 900

.PHONY: book test notebooks bench lint clean

# The stamp is written last: an installation that broke off is done again.
$(INSTALLED): requirements.txt pyproject.toml scripts/make_venv.sh
	@sh scripts/make_venv.sh .venv
	@touch $@

book: $(INSTALLED)
	@$(BIN)/jupyter-book build --quiet $(BOOK_FLAGS) .
	@echo "The book's start page: $(CURDIR)/_build/html/index.html"

# The book comes first because tests/browser opens it. The unit tests work on small tensors, where
# one thread is fastest; the notebooks train, so they get all cores. Warnings are errors in the
# unit tests only: under nbval they would be those of the Jupyter tools, not ours. Both runs are
# made, so that one `make test` shows every fault.
test: book
	@status=0; \
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest || status=1; \
	$(BIN)/python -m pytest -o filterwarnings=default --nbval-lax --nbval-current-env \
		--nbval-cell-timeout=$(CELL_TIMEOUT) $(NOTEBOOKS) || status=1; \
	exit $$status

notebooks: $(INSTALLED)
	@$(BIN)/python scripts/notebooks.py run $(NOTEBOOKS)

bench: $(INSTALLED)
	@for script in benchmarks/*.py; do \
		echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

clean:
	rm -rf _build build .pytest_cache .ruff_cache .hypothesis .jupyter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
