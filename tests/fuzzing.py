"""Damage files at random and read them: each ends in an error that names the file, or in the right result.

Run as ``python tests/fuzzing.py N_FILES SEED [KIND]``: so many files of every kind, the same ones for the
same seed. It prints what ended otherwise, and how often each kind was tried.
"""

import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from fuzzed_kinds import make_kinds
from safetensors import safe_open
from safetensors.torch import load_file, save_file

VALUES = [None, True, False, -1, 0, 1, 2, 7, 1000, 2**31, 10**9, 10**40, -0.5, 1e-9, 0.3, 1e6, 1e300, ""]
VALUES += ["x", "\ud800", "torch.nn.GELU", "a.b", "1000s", ["x"] * 40, {}, {"a": 1}, float("nan")]
VALUES += [[], [1], [[]], [-1, 2], [10**9]]
PIECES = [b"", b"[", b'"', b"0", b"9" * 9, b"\x00", b": &a [*a]", b"-", b"\xff\xfe"]
COUNTS = ("num_batches_tracked", "n_idle_steps")
LIMIT, BYTES = 10, 2_000_000_000


def change_value(draw, value):
    """Change one place in nested lists and mappings."""
    if isinstance(value, dict | list) and value and draw.random() < 0.8:
        value = value.copy()
        key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if draw.random() < 0.15:
            del value[key]
        elif isinstance(value, dict) and draw.random() < 0.05:
            value[f"{key}_"] = value.pop(key)
        else:
            value[key] = change_value(draw, value[key])
        return value
    if isinstance(value, int | float) and draw.random() < 0.3:
        return value * draw.choice([-1, 2, 1000, 0.5])
    return draw.choice(VALUES)


def change_bytes(draw, content, reach):
    """Cut a file, or write over, put in or take out a few bytes, most often near its beginning."""
    if not content or draw.random() < 0.2:
        return content[: draw.randrange(len(content) + 1)]
    place = draw.randrange(min(len(content), draw.choice([1000, 1000, reach])))
    new = draw.choice(
        [*PIECES, bytes([draw.randrange(256)]), bytes([content[place] ^ 1 << draw.randrange(8)])]
    )
    return content[:place] + new + content[place + draw.randrange(3) :]


def change_tensors(draw, weights):
    """Spoil one of several tensors, or its name."""
    # Another count is another whole file.
    name = draw.choice(sorted(name for name in weights if not name.endswith(COUNTS)))
    tensor = weights.pop(name)
    if draw.random() < 0.1:
        return weights | ({} if draw.random() < 0.5 else {draw.choice([name[:-1], f"a.{name}"]): tensor})
    kinds = [torch.int8, torch.bool, torch.complex64, torch.float64, torch.int64]
    new = draw.choice([tensor.flatten()[:-1], tensor[None], *(tensor.to(kind) for kind in kinds), None])
    if new is None:
        number = draw.choice([torch.nan, torch.inf]) if tensor.is_floating_point() else 99
        new = torch.full_like(tensor, number)
    elif new.dtype == torch.float64 or new.dtype == tensor.dtype == torch.int64:
        new = torch.full_like(new, 1e300) if new.is_floating_point() else new + 1
    return weights | {name: new.clone().contiguous()}


def change_safetensors(draw, path):
    """Spoil a tensor, with what the file says of itself or without."""
    weights = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata() if draw.random() < 0.5 else None
    save_file(change_tensors(draw, weights) if weights else weights, path, metadata=metadata)


def change_pickle(draw, path):
    """Spoil a tensor, however deep it lies."""

    def change(entry):
        if all(isinstance(value, torch.Tensor) for value in entry.values()):
            return change_tensors(draw, dict(entry)) if entry else entry
        name = draw.choice(sorted(name for name, value in entry.items() if isinstance(value, dict)))
        return entry | {name: change(entry[name])}

    torch.save(change(torch.load(path)), path)


def change_json(draw, path):
    """Change one value."""
    path.write_text(json.dumps(change_value(draw, json.loads(path.read_text()))))


CHANGES = {".json": change_json, ".safetensors": change_safetensors}
CHANGES |= dict.fromkeys((".pt", ".pth", ".ckpt"), change_pickle)


def damage(draw, path, reach):
    """Change what a file holds, or its bytes, as far as they reach."""
    change = CHANGES.get(path.suffix)
    if change is not None and draw.random() < 0.6:
        try:
            change(draw, path)
            return
        # It was damaged before.
        except Exception:  # noqa: S110
            pass
    path.write_bytes(change_bytes(draw, path.read_bytes(), reach))


def judge(read, own):
    """Read a folder, and say what is wrong with how that ended, or ""."""
    started = time.process_time()
    try:
        problem = "" if read(own) else "a wrong result"
    except (ValueError, OSError) as error:
        problem = "" if own.name in str(error) else f"the file is not named: {error!r}"
    # Whatever else comes is what is looked for.
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    seconds = time.process_time() - started
    return problem or (f"{seconds:.1f} s" if seconds > LIMIT else "")


def try_one(draw, kind, copy):
    """Damage one file of a kind or several, once or more often, and say what is wrong with reading them."""
    shutil.copytree(kind.folder, copy)
    damaged = [draw.choice(kind.files) for _ in range(draw.choice([1, 1, 1, 2, 4]))]
    # Numbers of a file whose hash was taken out before can be any.
    reach = 10**9 if len(damaged) == 1 else 1000
    for file in damaged:
        damage(draw, copy / file, reach)
    contents = {file: (copy / file).read_bytes() for file in damaged}
    signal.setitimer(signal.ITIMER_PROF, 2 * LIMIT)
    problem = judge(kind.read, copy)
    signal.setitimer(signal.ITIMER_PROF, 0)
    shutil.rmtree(copy)
    return problem and f"{problem[:400]}\n    " + "\n    ".join(
        f"{file}: {describe(kind.folder / file, content)}" for file, content in contents.items()
    )


def describe(whole, content):
    """Say what was changed in a file."""
    try:
        before, after = (json.loads(text) for text in (whole.read_bytes(), content))
        changed = {key: after.get(key) for key in {**before, **after} if before.get(key) != after.get(key)}
        return str(changed)[:300]
    except (ValueError, AttributeError):
        return content[:200]


def main(n_files, seed, chosen=""):
    """Try so many files of every kind, or of one; the number of faults."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    n_tried = n_faults = 0
    signal.signal(signal.SIGPROF, lambda *_: (_ for _ in ()).throw(TimeoutError("hangs")))
    with tempfile.TemporaryDirectory() as beside:
        kinds = {name: kind for name, kind in make_kinds(Path(beside)).items() if chosen in name}
        used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + BYTES, used + BYTES))
        for name, kind in kinds.items():
            whole = shutil.copytree(
                kind.folder, Path(beside) / "whole" / kind.folder.name, dirs_exist_ok=True
            )
            assert not judge(kind.read, whole), f"{name} is not read right where nothing is damaged."
            start = time.process_time()
            for number in range(n_files):
                draw = random.Random(f"{seed} {name} {number}")
                problem = try_one(draw, kind, Path(beside) / "tried" / kind.folder.name)
                n_tried += 1
                if problem:
                    n_faults += 1
                    print(f"{name}, {number}: {problem}", flush=True)
            print(f"{name}: {n_files} files, {time.process_time() - start:.1f} s", flush=True)
    print(f"{n_tried} files of {len(kinds)} kinds, {n_faults} faults")
    return n_faults


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]), *sys.argv[2:]), 1))
