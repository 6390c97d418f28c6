"""The cells, a module each, all of one shape.

A cell has a `NAME`; `GATES`, the G of its (H, G·H) weights; `STATES`, the tape's arrays (T+1, B, H) that carry from
chunk to chunk; `tape`, its memory; and `recurrence_forward` with `recurrence_backward` directly below.
`Backend.recurrence` may put a device kernel of the same two functions in their place.
"""

from types import ModuleType

from charrnn.model.cells import rnn

CELLS: dict[str, ModuleType] = {cell.NAME: cell for cell in (rnn,)}

__all__ = ["CELLS"]
