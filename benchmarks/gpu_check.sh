#!/usr/bin/env bash
# Is this machine's NVIDIA GPU right, and how fast is it? In less than 8 minutes, without a network:
#   benchmarks/gpu_check.sh FOLDER             everything; FOLDER/CARD.json has each result as soon as it is printed
#   benchmarks/gpu_check.sh FOLDER --dry-run   every step on the CPU, in tiny sizes: needs no GPU
#   python benchmarks/table.py FOLDER/CARD.json   the measured speeds as a Markdown table
# Needs Python 3.11 with CuPy, pytest, hypothesis and what the package depends on. WHEELS=FOLDER installs the wheels in
# that folder for this check alone. PyTorch and JAX are measured where they are installed.
# The interpreter is $PYTHON, else the checkout's .venv, else python3. Status 1 if a step failed, 2 if none could begin.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
if ! command -v "$python" >/dev/null; then
  python=python3
fi
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" "$root/benchmarks/gpu_check.py" "$@"
