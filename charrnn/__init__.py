"""Character-level recurrent networks, written once for NumPy and CuPy.

    import charrnn
    model = charrnn.train(files=["shakespeare.txt"], out="runs/shakespeare")
    print(model.sample("ROMEO:", length=300))

`charrnn.api` documents `train`, `load` and `Model`; `charrnn.tools.compare` documents `compare`;
`charrnn.tools.torch_weights` documents `to_torch` and `from_torch`. DESIGN.md beside this file describes the structure.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from charrnn.errors import CharrnnError

if TYPE_CHECKING:
    from charrnn.api import Model, load, train
    from charrnn.evaluation.dynamic import Dynamic
    from charrnn.tools.compare import compare
    from charrnn.tools.torch_weights import from_torch, to_torch

__version__ = "0.2.0"
__all__ = ["CharrnnError", "Dynamic", "Model", "__version__", "compare", "from_torch", "load", "to_torch", "train"]

HOMES = {
    **dict.fromkeys(("Model", "load", "train"), "charrnn.api"),
    **dict.fromkeys(("from_torch", "to_torch"), "charrnn.tools.torch_weights"),
    "compare": "charrnn.tools.compare",
    "Dynamic": "charrnn.evaluation.dynamic",
}
"""API name -> the module that defines it."""


def __getattr__(name: str) -> Any:
    """Import a name of the API at its first use, so that `import charrnn` alone is fast."""
    if name not in HOMES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the names that completion offers."""
    return sorted(__all__)
