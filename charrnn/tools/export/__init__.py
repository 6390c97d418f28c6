"""Export a trained network: an ONNX model, a folder as model hubs show it, and a page that runs it in a browser."""
