"""The only package that names an array library: arrays, devices and threads."""

from charrnn.backend.arrays import Array, Backend, Factor, gate_steps, steps
from charrnn.backend.crew import Crew
from charrnn.backend.devices import Choice, choose, report
from charrnn.backend.threads import Workers, cores, one_thread

__all__ = [
    "Array",
    "Backend",
    "Choice",
    "Crew",
    "Factor",
    "Workers",
    "choose",
    "cores",
    "gate_steps",
    "one_thread",
    "report",
    "steps",
]
