# Set-up and shortcuts. `make install`, `figure` and `test` need git, make and Python 3.11 or newer; afterwards everything in
# .venv/bin can be used directly. With another interpreter: make figure PYTHON=python3.12 (rm -rf .venv to change later).

PYTHON ?= python3

.PHONY: install figure readme-figure performance named-results gpu schema test quick lint docs audit

install: .venv/installed

figure: .venv/installed
	.venv/bin/snakemake --cores 1 results/figures/forgetting.pdf

# The picture of the README: a finished run's results/…/figures/overview.png, kept in the repository under the run's name.
PICTURE = $(RESULTS)/figures/overview.png
KEPT_PICTURE = docs/figures/$(notdir $(abspath $(RESULTS))).png
LARGEST_PICTURE = 150000

readme-figure:
	@[ -n "$(RESULTS)" ] || { echo "Name a folder of results: make readme-figure RESULTS=results/smollm2_cpu"; exit 1; }
	@[ -f "$(PICTURE)" ] || { echo "There is no $(PICTURE); ask Snakemake for it, with the run's --configfile"; exit 1; }
	@size=$$(wc -c < "$(PICTURE)"); [ $$size -le $(LARGEST_PICTURE) ] || { \
	  echo "$(PICTURE) has $$size bytes; a picture that the repository keeps has at most $(LARGEST_PICTURE)"; exit 1; }
	@mkdir -p docs/figures && cp "$(PICTURE)" "$(KEPT_PICTURE)" && echo "$(KEPT_PICTURE)"

# README's table of ratios. Benchmarks that have left a result are not run again: delete it for a new one.
BENCHMARKS = results/benchmarks

performance: named-results $(BENCHMARKS)/evaluation.json $(BENCHMARKS)/large_tables.json $(BENCHMARKS)/memory.json
	@.venv/bin/python benchmarks/performance.py "$(RESULTS)" --benchmarks $(BENCHMARKS)

named-results:
	@[ -d "$(RESULTS)" ] || { \
	  echo "Name a folder of results that is there: make performance RESULTS=results/smollm2_cpu"; exit 1; }

$(BENCHMARKS)/memory.json $(BENCHMARKS)/large_tables.json: $(BENCHMARKS)/%.json: | .venv/installed
	.venv/bin/python benchmarks/$*.py --out $@

$(BENCHMARKS)/evaluation.json: | named-results .venv/installed
	.venv/bin/python benchmarks/evaluation.py --out $@ --results "$(RESULTS)" --limit 100

# All that needs a GPU, in one go: kernels, steps, scores, and peaks of memory against the plan.
gpu: .venv/installed
	.venv/bin/python benchmarks/gpu.py --out $(BENCHMARKS)/gpu.json
	.venv/bin/python benchmarks/plan.py --device cuda --qwen --out $(BENCHMARKS)/plan_cuda_float32.json
	.venv/bin/python benchmarks/plan.py --device cuda --qwen --dtype bfloat16 --out $(BENCHMARKS)/plan_cuda_bfloat16.json

# What editors read of the config's keys, and people; from smf/config, where each key is declared.
schema: .venv/installed
	.venv/bin/python -m smf.config.schema > workflow/schemas/config.schema.yaml

# One thread per process: on shared cores OpenMP threads wait for each other far longer than they compute.
test: .venv/installed
	OMP_NUM_THREADS=1 .venv/bin/pytest --numprocesses 2 --dist loadscope

# For the inner loop: of the tests of the library those that fit into three minutes on two cores, by what each file took in
# earlier runs on this machine, of which there has to be one (make test). Two processes, and some time to start them.
quick: .venv/installed
	OMP_NUM_THREADS=1 .venv/bin/pytest --numprocesses 2 --dist loadscope -m "not slow and not slurm" --within 300 \
	  tests/unit tests/reference

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/snakefmt --check Snakefile workflow
	.venv/bin/snakemake --lint

# README, CONTRIBUTING and docs/ as a website: open site/index.html. A dead link or a page that the navigation lacks fails.
docs: .venv/installed
	.venv/bin/mkdocs build

# Fails if one of the pinned packages has a known vulnerability; in an environment of its own, as it is no part of ours.
audit:
	[ -x .audit/bin/pip-audit ] || { $(PYTHON) -m venv .audit && .audit/bin/pip install -q pip-audit==2.10.1; }
	.audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

CHECK_PYTHON = import sys; sys.version_info >= (3, 11) or sys.exit( \
	"smf needs Python 3.11 or newer, but $(PYTHON) is %d.%d; name another one: make PYTHON=python3.12 figure" \
	% sys.version_info[:2])

# .venv/installing marks an installation under way and becomes the stamp at its end. One that is found at the start
# was interrupted: what lies beside it cannot be trusted.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c '$(CHECK_PYTHON)'
	@if [ -e .venv/installing ]; then echo "The last installation was interrupted: starting .venv anew."; rm -rf .venv; fi
	@mkdir -p .venv && touch .venv/installing
	[ -x .venv/bin/pip ] || $(PYTHON) -m venv .venv
	.venv/bin/pip install --disable-pip-version-check -c constraints.txt torch==2.13.0 -e '.[dev,docs]'
	@mv .venv/installing $@
