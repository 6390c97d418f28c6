"""The only package that names an array library: arrays, devices, threads and worker processes."""

from charrnn.backend.base import Array, Backend, PackedWeights, Series, gate_steps, series, steps
from charrnn.backend.devices import Choice, choose, computed, computing, gpu_is_possible, gpus, report
from charrnn.backend.process_pool import ForkPool
from charrnn.backend.threads import ThreadPool, blas, cores, one_thread, total_ram

__all__ = [
    "Array",
    "Backend",
    "Choice",
    "ForkPool",
    "PackedWeights",
    "Series",
    "ThreadPool",
    "blas",
    "choose",
    "computed",
    "computing",
    "cores",
    "gate_steps",
    "gpu_is_possible",
    "gpus",
    "one_thread",
    "report",
    "series",
    "steps",
    "total_ram",
]
