"""The only package that names an array library: arrays, devices, threads and worker processes."""

from charrnn.backend.base import Array, Backend, PackedWeights, Series, gate_steps, series, steps
from charrnn.backend.devices import (
    Checked,
    Choice,
    check,
    choose,
    computed,
    computing,
    gpu_is_possible,
    gpu_of,
    gpus,
    report,
)
from charrnn.backend.process_pool import ForkPool
from charrnn.backend.ranks import TIME_IS_OVER, Exchange, Ranks, SharedPool, check_installed, world
from charrnn.backend.threads import ThreadPool, blas, cores, one_thread, total_ram

__all__ = [
    "TIME_IS_OVER",
    "Array",
    "Backend",
    "Checked",
    "Choice",
    "Exchange",
    "ForkPool",
    "PackedWeights",
    "Ranks",
    "Series",
    "SharedPool",
    "ThreadPool",
    "blas",
    "check",
    "check_installed",
    "choose",
    "computed",
    "computing",
    "cores",
    "gate_steps",
    "gpu_is_possible",
    "gpu_of",
    "gpus",
    "one_thread",
    "report",
    "series",
    "steps",
    "total_ram",
    "world",
]
