"""The cells, a module each, all of one shape.

A cell has

- a `NAME`; `GATES`, the G of its (H, G·H) weights; `STATES`, the tape's arrays (T+1, B, H) that carry from chunk to
  chunk;
- `BIASES`, name -> gate: biases (H,) of the recurrent product of that gate alone, which are broadcast into the tape's
  `bias`; `FORGET`, the gates whose bias begins at `model.forget_bias`;
- `tape`, its memory: besides the states `z` (T, B, G·H), the projected input, where the adjoint leaves its gradient
  dz, and `z_hidden` of that shape, where it leaves the gradient by the recurrent product. For most cells, that is dz;
- `recurrence_forward`, and `recurrence_backward` directly below.

`Backend.recurrence` may put a device kernel of the same two functions in their place.
"""

from types import ModuleType

from charrnn.model.cells import gru, lstm, rnn

CELLS: dict[str, ModuleType] = {cell.NAME: cell for cell in (rnn, gru, lstm)}

__all__ = ["CELLS"]
