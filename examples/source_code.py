"""Learn source code of Python's standard library, and complete `def` lines: print completions that are valid Python.

    python examples/source_code.py

After these seconds a network writes a valid signature about every third time, so Python's compiler picks those.
"""

import argparse
import ast
import configparser
import csv
import inspect
import logging
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import threading
import zipfile

import charrnn

MODULES = [argparse, configparser, csv, logging, pathlib, shutil, subprocess, tarfile, tempfile, threading, zipfile]


def code(module: object) -> str:
    """Return the code of a module without comments and docstrings, each statement on one line."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def is_valid(signature: str) -> bool:
    """Return whether a line that begins with `def` is the start of a function in Python."""
    try:
        compile(f"{signature.strip()}\n    pass", "signature", "exec")
    except SyntaxError:
        return False
    return True


# Each module is a document. The last tenth of the text is held out, and the network that predicts it best is returned.
settings = {"model.cell": "gru", "train.batch_size": 16, "train.steps": 600, "optimizer.learning_rate": 0.006}
model = charrnn.train(map(code, MODULES), settings=settings | {"model.hidden_size": 160})

for prompt in ("\n    def __init__(self", "\n    def _", "\ndef is_"):
    completions = model.sample(prompt, count=60, length=100, temperature=0.5, stop="\n", seed=1)
    valid = [prompt.strip("\n") + completion for completion in completions if is_valid(prompt + completion)]
    print(f"{len(valid)} of 60 completions of {prompt.strip()!r} are valid Python. Some of them:")
    print("\n".join(list(dict.fromkeys(valid))[:5]) + "\n")
