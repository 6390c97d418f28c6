"""Export a trained network: an ONNX model, a folder as model hubs show it, and a page that runs it in a browser."""

from charrnn.tools.export.facts import Facts, facts_of
from charrnn.tools.export.hub import write_folder
from charrnn.tools.export.onnx_file import onnx_model
from charrnn.tools.export.playground import playground_page

__all__ = ["Facts", "facts_of", "onnx_model", "playground_page", "write_folder"]
