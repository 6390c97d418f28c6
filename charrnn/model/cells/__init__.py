"""The cells: one module each, all with the same names.

- `NAME`; `GATES`: G of the recurrent weights (H, G·H); `STATES`: the tape's arrays (T+1, B, H) that one chunk hands to
  the next.
- `BIASES`: name -> gate, for biases (H,) that belong to the recurrent product of one gate; they are copied into the
  tape's `bias`. `FORGET_GATES`: the gates whose bias starts at `model.forget_bias`.
- `OPERATIONS`: the array operations of one time step in both loops, without resets: launches on a device.
- `tape`: makes the arrays of a layer. Besides the states they are `z` (T, B, G·H), the projected input, which the
  backward pass overwrites with its gradient dz, and `z_hidden` (T, B, G·H), the gradient of the recurrent product.
- `recurrence_forward`, and `recurrence_backward` directly below it.

`Backend.recurrence` may run a device kernel in place of the two functions.
"""

from types import ModuleType

from charrnn.model.cells import gru, lstm, rnn

CELLS: dict[str, ModuleType] = {cell.NAME: cell for cell in (rnn, gru, lstm)}

__all__ = ["CELLS"]
