"""Is this computer ready? What works, what is slow, what is broken, and how to mend it."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eeglab_models.configs import shorten

__all__: list[str] = []

OK, WARNING, BROKEN = "ok", "warning", "broken"
MARKS = {OK: "green", WARNING: "yellow", BROKEN: "red"}
# A kernel and the recordings of one small data set.
DISK_LOW, DISK_EMPTY = 5e9, 2e8
# A notebook and a browser.
MEMORY_SMALL, MEMORY_LOW = 4e9, 2e9
# Where JupyterLab listens.
PORT = 8888
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


@dataclass(frozen=True)
class Finding:
    """What one check found: ``ok``, ``warning`` or ``broken`` (no notebook runs), and what to do about it."""

    name: str
    status: str
    found: str
    remedy: str = ""


def diagnose() -> list[Finding]:
    """Check everything, in the order of `CHECKS`; a check that fails itself is a finding too."""
    findings = []
    for name, check in CHECKS.items():
        try:
            findings.append(check())
        except Exception as error:
            remedy = "Install the packages anew: pip install -e '.[notebooks]' -c constraints.txt"
            findings.append(Finding(name, BROKEN, f"{type(error).__name__}: {error}", remedy))
    return findings


def show_findings(console: "Console", findings: Sequence[Finding]) -> None:  # noqa: F821
    """Print what was found, and what to mend."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "found")
    for finding in findings:
        table.add_row(Text(finding.status, MARKS[finding.status]), finding.name, finding.found)
    console.print(table)
    to_mend = [finding for finding in findings if finding.status != OK]
    for finding in to_mend:
        console.print(f"{finding.name}: {finding.remedy}")
    if not to_mend:
        console.print("Nothing to mend.")


def check_python() -> Finding:
    """Look at Python and where it is installed."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    if sys.prefix == sys.base_prefix and not os.environ.get("CONDA_PREFIX"):
        return Finding("Python", WARNING, found, "Use an environment of its own: make, or conda env create.")
    return Finding("Python", OK, found)


def check_packages() -> Finding:
    """Look for packages that are missing or older than what pyproject.toml asks for."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    problems = []
    for line in requires("eeglab_models") or []:
        requirement = Requirement(line)
        extra = "notebooks"
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            if not requirement.specifier.contains(version(requirement.name), prereleases=True):
                problems.append(f"{requirement.name} {version(requirement.name)} ({requirement.specifier})")
        except PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
    if problems:
        remedy = "Run pip install -e '.[notebooks]' -c constraints.txt"
        return Finding("packages", BROKEN, ", ".join(problems), remedy)
    return Finding("packages", OK, "all there, in versions that fit")


def check_versions() -> Finding:
    """Compare what is installed with the exact set that was tested."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.version import Version

    if not CONSTRAINTS.is_file():
        return Finding("versions", OK, f"not compared: there is no {CONSTRAINTS}")
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    installed = {}
    for name in pins:
        with suppress(PackageNotFoundError):
            # The build of a version, as +cpu, may differ.
            installed[name] = Version(version(name)).public
    different = [name for name in installed if Version(installed[name]) != Version(pins[name])]
    if different:
        found = shorten((f"{name} {installed[name]} instead of {pins[name]}" for name in different), 6)
        remedy = f"Results may differ from those shown: pip install -e '.[notebooks]' -c {CONSTRAINTS}"
        return Finding("versions", WARNING, found, remedy)
    return Finding("versions", OK, f"{len(installed)} packages as in constraints.txt")


def check_torch() -> Finding:
    """Look at torch's build and its threads."""
    import torch
    from dask.system import CPU_COUNT

    build = torch.version.cuda or torch.version.hip or "CPU only"
    n_threads, n_cores = torch.get_num_threads(), CPU_COUNT
    found = f"{torch.__version__} ({build}), {n_threads} threads on {n_cores} cores"
    if n_threads > n_cores:
        remedy = f"More threads than cores wait for each other: set OMP_NUM_THREADS={n_cores}."
        return Finding("torch", WARNING, found, remedy)
    return Finding("torch", OK, found)


def check_accelerator() -> Finding:
    """Look for a graphics card, and for one that torch cannot use."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding("accelerator", OK, ", ".join(names))
    if torch.accelerator.is_available():
        return Finding("accelerator", OK, str(torch.accelerator.current_accelerator()))
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
        if listed.strip():
            remedy = "Install a build of torch for its driver, as pytorch.org/get-started says."
            return Finding("accelerator", WARNING, f"torch cannot use {listed.splitlines()[0]}", remedy)
    return Finding("accelerator", OK, "none: everything runs on the processor, larger models slowly")


def check_memory() -> Finding:
    """Look at the memory that there is, and at what is free."""
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.total < MEMORY_SMALL:
        remedy = "Open one notebook at a time, and shut its kernel down before the next."
        return Finding("memory", WARNING, found, remedy)
    if memory.available < MEMORY_LOW:
        return Finding("memory", WARNING, found, "Close other programs: a notebook needs up to 2 GB.")
    return Finding("memory", OK, found)


def check_disk() -> Finding:
    """Look at the space on the disks that are written to."""
    folders = {Path.cwd(), existing(recordings_folder()), existing(cache_folder())}
    free = {folder: shutil.disk_usage(folder).free for folder in folders}
    least = min(free, key=free.get)
    found = f"{free[least] / 1e9:.1f} GB free at {least}"
    if free[least] < DISK_EMPTY:
        return Finding("disk", BROKEN, found, "Free some space: executed notebooks would be lost.")
    if free[least] < DISK_LOW:
        return Finding("disk", WARNING, found, "Free some space before downloading recordings or weights.")
    return Finding("disk", OK, found)


def check_working_folder(folder: Path | None = None) -> Finding:
    """Try to write where executed notebooks go."""
    folder = folder or Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        remedy = "Change to a folder of your own: notebooks could not be saved here."
        return Finding("working folder", BROKEN, f"{folder} cannot be written to ({error.strerror})", remedy)
    return Finding("working folder", OK, str(folder))


def check_kit() -> Finding:
    """Look for a kit in use, whether it is in use as a whole, and whether it is whole."""
    from eeglab_models.workshop import install

    folder = kit_in_use()
    if folder is None:
        return Finding("kit", OK, "none in use")
    # As paths, because one folder has many spellings; other values are equal as paths, too.
    unset = [
        name
        for name, value in install.settings(folder).items()
        if Path(os.environ.get(name, "")).resolve() != Path(value).resolve()
    ]
    if unset:
        remedy = f"In this terminal: source {folder / 'activate.sh'} (Windows: call activate.bat)."
        return Finding("kit", WARNING, f"{folder}, but {', '.join(unset)} not set to it", remedy)
    try:
        problems = install.check(folder)
    except (OSError, ValueError) as error:
        return Finding("kit", WARNING, str(error), "Copy the kit again, or prefetch again into its folder.")
    if problems:
        remedy = f"Copy the kit again, or see all: eeglab-models prefetch --check {folder}"
        more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
        return Finding("kit", WARNING, f"{folder}: {problems[0]}{more}", remedy)
    return Finding("kit", OK, f"{folder} is complete")


def check_recordings() -> Finding:
    """Look for recordings and whether new ones could be written."""
    folder = recordings_folder()
    how = "MNE_DATA" if os.environ.get("MNE_DATA") else "the default"
    if not folder.is_dir():
        if os.environ.get("MNE_DATA"):
            remedy = f"Make the folder, or correct MNE_DATA: mkdir -p {folder}"
            return Finding("recordings", WARNING, f"MNE_DATA names {folder}, which is not there", remedy)
        found = "none yet, the simulated data set needs none"
        return Finding("recordings", OK, f"{found}; real ones go to {folder} ({how})")
    kinds = sorted(path.name for path in folder.iterdir() if path.is_dir())
    found = f"{', '.join(kinds[:6]) or 'none'} in {folder} ({how})"
    if not os.access(folder, os.W_OK):
        return Finding("recordings", OK, f"{found}, read-only: nothing can be added")
    return Finding("recordings", OK, found)


def check_weights() -> Finding:
    """Look at the cache of the Hub and whether it is offline."""
    from huggingface_hub import constants

    folder = cache_folder()
    models = sorted(path.name[8:].replace("--", "/") for path in folder.glob("models--*"))
    found = f"{len(models)} models in {folder}" + (", offline" if constants.HF_HUB_OFFLINE else "")
    if constants.HF_HUB_OFFLINE and not models and kit_in_use():
        return Finding("weights", OK, f"{found}: the kit brings none")
    if constants.HF_HUB_OFFLINE and not models:
        remedy = "Unset HF_HUB_OFFLINE to download weights, or fill a kit: eeglab-models prefetch."
        return Finding("weights", WARNING, f"{found}: none can be loaded by name", remedy)
    return Finding("weights", OK, found)


def check_shipped_data() -> Finding:
    """Look for the data that come with the repository."""
    from eeglab_models.models.checkpoints import shipped_checkpoint

    try:
        folder = shipped_checkpoint("fblightconvnet-simulated")
    except FileNotFoundError as error:
        return Finding("shipped data", WARNING, "not found", str(error))
    return Finding("shipped data", OK, str(folder.parents[1]))


def check_kernel() -> Finding:
    """Start the kernel that notebooks run in, and ask whether it is this Python."""
    from jupyter_client.manager import start_new_kernel

    start = time.perf_counter()
    quiet = ["--IPKernelApp.log_level=50"]
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=60, extra_arguments=quiet)
    try:
        seen: list[str] = []

        def listen(message: dict) -> None:
            if message["msg_type"] == "stream":
                seen.append(message["content"]["text"])

        client.execute_interactive("import sys; print(sys.prefix)", output_hook=listen, timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    prefix = "".join(seen).strip()
    if prefix != sys.prefix:
        remedy = f"Register this one: {sys.executable} -m ipykernel install --sys-prefix --name python3"
        return Finding("kernel", BROKEN, f"'python3' is the Python of {prefix}, not of {sys.prefix}", remedy)
    return Finding("kernel", OK, f"'python3' answers after {time.perf_counter() - start:.1f} s")


def check_port(port: int = PORT) -> Finding:
    """Look whether JupyterLab's usual address is free."""
    with socket.socket() as place:
        # A firewall may swallow the question.
        place.settimeout(1)
        taken = place.connect_ex(("127.0.0.1", port)) == 0
    if taken:
        remedy = "JupyterLab takes the next one: open the address that it prints. See: jupyter server list"
        return Finding("port", WARNING, f"{port} is taken", remedy)
    return Finding("port", OK, f"{port} is free for JupyterLab")


def check_browser(names: Sequence[str] = BROWSERS) -> Finding:
    """Look for the browser that tests of pages run in."""
    found = find_browser(names)
    if found is None:
        remedy = "Only tests in a browser need it: apt install chromium, or go without."
        return Finding("browser", WARNING, "no Chromium on the PATH", remedy)
    return Finding("browser", OK, found)


def find_browser(names: Sequence[str] = BROWSERS) -> str | None:
    """Find a Chromium by its usual names."""
    return next(filter(None, map(shutil.which, names)), None)


def recordings_folder() -> Path:
    """Find where mne and moabb keep recordings."""
    import mne

    configured = os.environ.get("MNE_DATA") or mne.get_config("MNE_DATA")
    return Path(configured or Path.home() / "mne_data").expanduser()


def cache_folder() -> Path:
    """Find where the Hub's client keeps weights."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def kit_in_use() -> Path | None:
    """Find the kit that the variables of the environment name."""
    from eeglab_models.workshop.install import MANIFEST

    named = [Path(os.environ[name]).parent for name in ("MNE_DATA", "HF_HOME") if os.environ.get(name)]
    return next((folder.resolve() for folder in named if (folder / MANIFEST).is_file()), None)


def existing(folder: Path) -> Path:
    """Find the nearest folder that is there."""
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": check_python,
    "packages": check_packages,
    "versions": check_versions,
    "torch": check_torch,
    "accelerator": check_accelerator,
    "memory": check_memory,
    "disk": check_disk,
    "working folder": check_working_folder,
    "kit": check_kit,
    "recordings": check_recordings,
    "weights": check_weights,
    "shipped data": check_shipped_data,
    "kernel": check_kernel,
    "port": check_port,
    "browser": check_browser,
}
