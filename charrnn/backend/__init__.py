"""The only package that names an array library: arrays, devices, threads and helper processes."""

from charrnn.backend.base import Backend, PackedWeights
from charrnn.backend.devices import Choice, choose, explain_out_of_memory, gpus, report
from charrnn.backend.process_pool import ForkPool
from charrnn.backend.threads import ThreadPool, blas, cores, memory, one_thread
from charrnn.backend.views import Array, Series, gate_steps, series, steps

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
    "cores",
    "explain_out_of_memory",
    "gate_steps",
    "gpus",
    "memory",
    "one_thread",
    "report",
    "series",
    "steps",
]
