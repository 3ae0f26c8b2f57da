"""What a real client of the Hub does with a Hub on 127.0.0.1; outcomes are written as JSON.

huggingface_hub reads its settings once, at import, so this runs in a process of its own:
``python hub_scenarios.py FOLDER`` leaves ``FOLDER/outcomes.json``.
"""

# ruff: noqa: E402
import json
import os
import subprocess
import sys
import time
import traceback
from collections import Counter
from functools import partial
from itertools import count
from pathlib import Path

import hub_server
from hub_server import Fault, Hub, Repository

SERVER = hub_server.start()
FOLDER = Path(sys.argv[1])
TOKEN = "_".join(["hf", "secret", "argument"])
os.environ["HF_ENDPOINT"] = hub_server.address(SERVER)
time.sleep = lambda seconds: None  # between the client's repetitions

import huggingface_hub
import nbformat
import papermill
import torch
from huggingface_hub import file_download
from references.cases import CASES
from references.compare import build
from safetensors.torch import load, save

from eeglab_models import EEGDINO
from eeglab_models.models.download import fetch

DEFAULTS = [case for case in CASES if case.name == "default"]
CASE = next(case for case in DEFAULTS if case.model == "EEGDINO")
WEIGHTS = "model.safetensors"
file_download._ETAG_RETRY_TIMEOUT = 0.1
SCENARIOS = {}
EMPTY = (FOLDER / f"empty-{number}" for number in count())  # caches that hold nothing yet


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def publish(name, seed=0, **rights):
    """Put a model on the Hub; its commit is returned too."""
    torch.manual_seed(seed)
    model = build(CASE)
    model.push_to_hub(f"lab/{name}", token=TOKEN)
    repository = Hub.repositories[f"lab/{name}"]
    for right, value in rights.items():
        setattr(repository, right, value)
    return model, repository.refs["main"]


def attempt(name, **arguments):
    """Load a model: what came of it, and how."""
    try:
        EEGDINO.from_pretrained(name, **arguments)
    except Exception as error:
        return {
            "error": type(error).__name__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
            "chained": error.__cause__ is not None or error.__context__ is not None,
        }
    return {"error": None}


def attempt_with(fault, name, file=WEIGHTS, **arguments):
    """Load a model while the Hub fails."""
    Hub.faults = {file: fault}
    try:
        return attempt(name, **arguments)
    finally:
        Hub.faults = {}


def same(model, other):
    x = torch.linspace(-1, 1, model.n_chans * model.n_times).view(1, model.n_chans, model.n_times)
    return torch.equal(model(x), other(x))


def requests_of(action):
    """Count the requests of an action by method, and list the ranges that were asked for."""
    del Hub.requests[:]
    result = action()
    ranges = [wanted for _, _, wanted in Hub.requests if wanted]
    return result, {"methods": dict(Counter(method for method, _, _ in Hub.requests)), "ranges": ranges}


@scenario
def travel():
    outcomes = {}
    for case in DEFAULTS:
        torch.manual_seed(0)
        model = build(case)
        model.push_to_hub(f"lab/{case.model}", token=TOKEN)
        loaded, report = type(model).from_pretrained(f"lab/{case.model}", return_report=True)
        outcomes[case.model] = {"same": same(model, loaded), "new": report.new}
    return outcomes


@scenario
def pieces():
    model, commit = publish("whole")
    whole = Hub.repositories["lab/whole"].commits[commit]
    weights, names, files = load(whole[WEIGHTS]), {}, {"deep/config.json": whole["config.json"]}
    for number in range(2):
        part = {key: weights[key] for key in sorted(weights)[number::2]}
        files[f"deep/part{number}.safetensors"] = save(part)
        names |= dict.fromkeys(part, f"part{number}.safetensors")
    index = json.dumps({"metadata": {}, "weight_map": names}).encode()
    repository = Hub.repositories["lab/pieces"] = Repository()
    repository.commit(files | {f"deep/{WEIGHTS}.index.json": index})
    options = {"subfolder": "deep", "strict": True}
    load_pieces = partial(EEGDINO.from_pretrained, "lab/pieces", **options)
    loaded, requests = requests_of(load_pieces)
    outcomes = {
        "same": same(model, loaded),
        "requests": requests,
        "again": requests_of(
            partial(EEGDINO.from_pretrained, "lab/pieces", local_files_only=True, **options)
        )[1],
        "other head": attempt("lab/pieces", n_outputs=9, **options),
        "no subfolder": attempt("lab/pieces"),
    }
    repository.commit({"deep/part1.safetensors": files["deep/part1.safetensors"][:-9]})
    outcomes["damaged"] = attempt("lab/pieces", **options)
    repository.commit({f"deep/{WEIGHTS}.index.json": index.replace(b"part1", b"part2")})
    outcomes["missing"] = attempt("lab/pieces", **options)
    return outcomes


@scenario
def revisions():
    name = "lab/revisions"
    first, first_commit = publish("revisions", seed=1)
    second, second_commit = publish("revisions", seed=2)
    Hub.repositories[name].refs["v1"] = first_commit
    load = partial(EEGDINO.from_pretrained, name)
    return {
        "differ": not same(first, second),
        "first commit": same(load(revision=first_commit), first),
        "tag": same(load(revision="v1"), first),
        "second commit": same(load(revision=second_commit), second),
        "branch": same(load(revision="main"), second),
        "default": same(load(), second),
    }


@scenario
def cache():
    _, commit = publish("cache")
    load = partial(EEGDINO.from_pretrained, "lab/cache")
    outcomes = {
        "first": requests_of(load)[1],
        "second": requests_of(load)[1],
        "commit": requests_of(partial(load, revision=commit))[1],
        "local": requests_of(partial(load, local_files_only=True))[1],
    }
    outcomes["failing"] = attempt_with(Fault(status=503), "lab/cache")
    return outcomes


@scenario
def offline():
    script = (
        "import json, sys; from eeglab_models import EEGDINO; outcomes = []\n"
        "for name, revision in (('lab/cache', None), ('lab/cache', 'v9'), ('lab/never', None)):\n"
        "    try:\n"
        "        EEGDINO.from_pretrained(name, revision=revision); outcomes.append('loaded')\n"
        "    except FileNotFoundError as error:\n"
        "        outcomes.append(str(error))\n"
        "print(json.dumps(outcomes))"
    )

    def run():
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    (found, other_revision, never), requests = requests_of(run)
    return {"found": found, "other revision": other_revision, "never": never, "requests": requests}


@scenario
def interruption():
    model, _ = publish("interruption")
    outcomes = {}
    # What arrives is kept in pieces of this size; the client's own are 10 MB.
    for size in (file_download.constants.DOWNLOAD_CHUNK_SIZE, 400):
        file_download.constants.DOWNLOAD_CHUNK_SIZE = size
        Hub.faults = {WEIGHTS: Fault(cut_after=1000, methods=("GET",), times=1)}
        load = partial(EEGDINO.from_pretrained, "lab/interruption", cache_dir=next(EMPTY))
        loaded, requests = requests_of(load)
        Hub.faults = {}
        outcomes["large pieces" if size > 1000 else "small pieces"] = {
            "same": same(model, loaded),
            **requests,
        }
    return outcomes


@scenario
def truncation():
    _, commit = publish("truncation")
    short = Hub.repositories["lab/truncation"].commits[commit][WEIGHTS][:-100]
    outcomes = {
        "broken off": attempt_with(Fault(cut_after=0, methods=("GET",)), "lab/truncation"),
        "shorter than stated": attempt_with(Fault(content=short, methods=("GET",)), "lab/truncation"),
    }
    outcomes["left behind"] = [path.name for path in FOLDER.rglob("*incomplete*")]
    outcomes["again"] = attempt("lab/truncation")
    return outcomes


@scenario
def tampering_on_the_way():
    _, commit = publish("forged", seed=3)
    content = bytearray(Hub.repositories["lab/forged"].commits[commit][WEIGHTS])
    content[-1] ^= 1
    return {
        "first": attempt_with(Fault(content=bytes(content), methods=("GET",)), "lab/forged"),
        "later": attempt("lab/forged", local_files_only=True),
        "forced": attempt("lab/forged", force_download=True),
        "after": attempt("lab/forged"),
    }


@scenario
def tampering_in_the_cache():
    outcomes = {}
    for seed, file in enumerate(["config.json", WEIGHTS], start=4):
        model, commit = publish(f"altered-{seed}", seed=seed)
        EEGDINO.from_pretrained(f"lab/altered-{seed}")
        (path,) = FOLDER.rglob(f"models--lab--altered-{seed}/snapshots/{commit}/{file}")
        blob = path.resolve()
        content = bytearray(blob.read_bytes())
        content[-3] ^= 1
        blob.write_bytes(content)
        refused = attempt(f"lab/altered-{seed}")
        refused["named"] = str(blob) in refused["message"] and file in refused["message"]
        refused["offline too"] = attempt(f"lab/altered-{seed}", local_files_only=True)["error"]
        refused["as a folder too"] = attempt(str(path.parent))["error"]
        blob.unlink()
        refused["after deleting it"] = attempt(f"lab/altered-{seed}")["error"]
        outcomes[file] = refused
    return outcomes


@scenario
def refusals():
    publish("private", token=TOKEN)
    publish("gated", gated=True)
    publish("sound")

    def fail(fault, file="config.json"):
        return attempt_with(fault, "lab/sound", file, cache_dir=next(EMPTY))

    return {
        "unknown repository": attempt("lab/nothing"),
        "no name": attempt("lab/a/b"),
        "private, no token": attempt("lab/private", token=False),
        "private, wrong token": attempt("lab/private", token="_".join(["hf", "secret", "wrong"])),
        "private, right token": attempt("lab/private", token=TOKEN),
        "gated": attempt("lab/gated"),
        "unknown revision": attempt("lab/sound", revision="v9"),
        "missing file": attempt("lab/sound", filename="nothing.safetensors"),
        "403": fail(Fault(status=403)),
        "404": fail(Fault(status=404)),
        "429": fail(Fault(status=429)),
        "500": fail(Fault(status=500)),
        "503": fail(Fault(status=503)),
        "500 for the content": fail(Fault(status=500, methods=("GET",)), WEIGHTS),
        "no Hub": fail(Fault(status=200)),
        "timeout": fail(Fault(hangs=True)),
        "forced offline": attempt("lab/sound", force_download=True, local_files_only=True),
        "forced, 500": attempt_with(Fault(status=500), "lab/sound", force_download=True),
        "not cached": attempt("lab/sound", local_files_only=True, cache_dir=next(EMPTY)),
    }


@scenario
def hostile_names():
    def ask(filename, **hub):
        try:
            fetch("lab/sound", filename, {"cache_dir": next(EMPTY), **hub})
        except ValueError as error:
            return str(error)

    outcomes = {name: requests_of(partial(ask, name)) for name in HOSTILE_NAMES}
    outcomes["revision"] = requests_of(partial(ask, WEIGHTS, revision="../../../escape"))
    return {"outcomes": outcomes, "written": [str(path) for path in FOLDER.rglob("*escape*")]}


HOSTILE_NAMES = (
    "../../escape.safetensors",
    "a/../../escape.safetensors",
    "/escape.safetensors",
    "~/escape.safetensors",
    "..\\escape.safetensors",
    "C:escape.safetensors",
    "a//escape.safetensors",
    "escape\n.safetensors",
    "",
)


@scenario
def token():
    """Everything here is searched for the tokens by the test."""
    publish("guarded", token=os.environ["HF_TOKEN"])
    model, report = EEGDINO.from_pretrained("lab/guarded", return_report=True)
    echo = Fault(status=500, body=f"bad token {TOKEN}", headers={"X-Error-Message": f"bad token {TOKEN}"})
    return {
        "loaded": {"texts": [repr(model), str(report), repr(report), repr(vars(model))]},
        "wrong": attempt("lab/guarded", token=TOKEN, cache_dir=next(EMPTY)),
        "echoed": attempt_with(echo, "lab/sound", "config.json", token=TOKEN, cache_dir=next(EMPTY)),
        "line break": attempt("lab/guarded", token=TOKEN + "\n", cache_dir=next(EMPTY)),
        "accent": attempt("lab/guarded", token=TOKEN + "é", cache_dir=next(EMPTY)),
    }


@scenario
def notebook():
    cells = [
        "from eeglab_models import EEGDINO\n"
        "model, report = EEGDINO.from_pretrained('lab/guarded', return_report=True)\n"
        "print(report)\nmodel",
        "%xmode Verbose\nEEGDINO.from_pretrained('lab/cache', revision='v9')",
    ]
    source, executed = FOLDER / "source.ipynb", FOLDER / "executed.ipynb"
    cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), source)
    try:
        papermill.execute_notebook(source, executed, kernel_name="python3", progress_bar=False)
    except papermill.PapermillExecutionError as error:
        return {"failed": error.evalue}


@scenario
def unreachable():
    SERVER.shutdown()
    SERVER.server_close()
    huggingface_hub.close_session()
    return {
        "not cached": attempt("lab/sound", cache_dir=next(EMPTY)),
        "cached": attempt("lab/cache"),
    }


if __name__ == "__main__":
    outcomes, seconds = {}, {}
    for name, play in SCENARIOS.items():
        start = time.perf_counter()
        try:
            outcomes[name] = play()
        except Exception:
            outcomes[name] = traceback.format_exc()
        seconds[name] = time.perf_counter() - start
    outcomes["seconds"] = seconds
    (FOLDER / "outcomes.json").write_text(json.dumps(outcomes, indent=1))
