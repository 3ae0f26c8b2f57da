"""Notebooks that do what tests need in no time, and grids of them."""

import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

EXPERIMENT = Path(__file__).parents[1] / "notebooks" / "experiment.ipynb"
PARAMETERS = """
number = 0
seconds = 0.0
problem = ""
output_folder = ""
"""
BODY = """
import json, os, pathlib, time
time.sleep(seconds)
if problem == "error": raise ValueError("bad subject")
if problem == "dies": os.kill(os.getpid(), 9)
if problem == "disk is full": raise OSError(28, "No space left on device")
if problem == "memory": filler = bytearray(400_000_000); time.sleep(20)
if problem != "forgets": pathlib.Path(output_folder, "result.json").write_text(json.dumps({"number": number}))
"""


def write_notebook(folder, parameters=PARAMETERS, body=BODY):
    """Write a notebook that sleeps, fails in a way that is asked for, or writes a row."""
    cells = [
        new_code_cell(parameters.strip(), metadata={"tags": ["parameters"]}),
        new_code_cell(body.strip()),
    ]
    notebook = new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = Path(folder) / "stub.ipynb"
    nbformat.write(notebook, path)
    return path


def run_experiment(parameters):
    """Execute the package's notebook of experiments without a kernel, which takes most of the time."""
    names: dict = {}
    for cell in json.loads(EXPERIMENT.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names |= parameters
    return json.loads((Path(parameters["output_folder"]) / "result.json").read_text())


def write_grid(folder, text, name="grid.yaml"):
    """Write a grid of the notebook beside it."""
    path = Path(folder) / name
    path.write_text(f"notebook: stub.ipynb\n{text}")
    return path
