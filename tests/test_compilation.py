"""Every model can be compiled and exported whole.

Shape checking wraps every function and would break the graph, so the models run in a process without it.
"""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, traceback, warnings
from dataclasses import replace
import torch
from references.cases import CASES
from references.compare import build

warnings.simplefilter("ignore")

def check(case):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = build(case)
    x = case.scale * torch.randn(2, model.n_chans, model.n_times)
    expected = model(x)

    # Neither back end needs a C++ compiler, which a newcomer's machine may lack.
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), expected)
    torch._dynamo.reset()
    torch.compile(model.train(), backend="eager", fullgraph=True)(x).sum().backward()

    model = build(case)
    expected = model(x)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(x), expected)
    torch.testing.assert_close(program.module()(x[:1]), model(x[:1]))

problems = {}
for case in CASES:
    if case.name == "default":
        # One layer, for tracing takes as long for each.
        layers = {"depth", "n_layer", "num_res_layers"} & set(case.arguments)
        try:
            check(replace(case, arguments=case.arguments | dict.fromkeys(layers, 1)))
            problems[case.model] = ""
        except Exception:
            problems[case.model] = traceback.format_exc()[-2000:]
print(json.dumps(problems))
"""


def test_models_compile_and_export_with_the_same_output():
    """All four in one process, for importing the compiler takes longer than a model."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=Path(__file__).parent, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr[-2000:]
    problems = json.loads(done.stdout.splitlines()[-1])
    assert problems == dict.fromkeys(["CodeBrain", "EEGDINO", "EEGPT", "FBLightConvNet"], "")
