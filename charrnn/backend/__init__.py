"""The only package that names an array library: arrays, devices, threads and helper processes."""

from charrnn.backend.arrays import Array, Backend, Factor, Series, gate_steps, series, steps
from charrnn.backend.crew import Crew
from charrnn.backend.devices import Choice, choose, gpus, report
from charrnn.backend.threads import Workers, blas, cores, one_thread

__all__ = [
    "Array",
    "Backend",
    "Choice",
    "Crew",
    "Factor",
    "Series",
    "Workers",
    "blas",
    "choose",
    "cores",
    "gate_steps",
    "gpus",
    "one_thread",
    "report",
    "series",
    "steps",
]
