#!/usr/bin/env bash
# Is this machine's NVIDIA GPU right, and how fast is it? In less than 8 minutes, without a network:
#   benchmarks/gpu_check.sh FOLDER             everything; logs, JSON and summary.json go to FOLDER
#   benchmarks/gpu_check.sh FOLDER --dry-run   every step on the CPU, in tiny sizes: needs no GPU
#   benchmarks/gpu_check.sh FOLDER --table     print the figures in FOLDER as a Markdown table
# Needs Python with CuPy, NumPy, pytest and what the package depends on; PyTorch and JAX are measured where they are.
# The interpreter is $PYTHON, else the checkout's .venv, else python3. Status 1 if a step failed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
if ! command -v "$python" >/dev/null; then
  python=python3
fi
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" "$root/benchmarks/gpu_steps.py" "$@"
