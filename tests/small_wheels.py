"""Tiny wheels and a tiny repository, made by hand: pip and git are tried without a network."""

import os
import subprocess
import sys
import zipfile

OWN = f"cp{sys.version_info.major}{sys.version_info.minor}"

PYPROJECT = """
[build-system]
requires = ["tiny_backend"]
build-backend = "tiny_backend"

[project]
name = "eeglab_models"
version = "1.0"
dependencies = ["small>=1"]

[project.optional-dependencies]
more = ["bigger"]
"""

# It knows the one project that it builds.
BACKEND = '''
import pathlib
import zipfile

METADATA = """Metadata-Version: 2.1
Name: eeglab_models
Version: 1.0
Requires-Dist: small>=1
Provides-Extra: more
Requires-Dist: bigger; extra == "more"
"""

def build_editable(folder, config_settings=None, metadata_directory=None):
    files = {
        "eeglab_models.pth": str(pathlib.Path.cwd()),
        "eeglab_models-1.0.dist-info/METADATA": METADATA,
        "eeglab_models-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nTag: py3-none-any\\n",
    }
    files["eeglab_models-1.0.dist-info/RECORD"] = "".join(f"{name},,\\n" for name in files)
    wheel = pathlib.Path(folder, "eeglab_models-1.0-py3-none-any.whl")
    with zipfile.ZipFile(wheel, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return wheel.name
'''

DOCTOR = """
import os
import sys

import bigger
import small

print(sys.argv[1:], small.VERSION, bigger.VERSION, os.environ["MNE_DATA"], os.environ["HF_HUB_OFFLINE"])
sys.exit(7)
"""


def make_wheel(
    folder, name, version="1.0", requires=(), tag="py3-none-any", extras=(), module=None, python=">=3"
):
    """Write a wheel of one module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"Requires-Python: {python}"]
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    lines += [f"Requires-Dist: {need}" for need in requires]
    files = {
        f"{name}.py": module or f"VERSION = {version!r}\n",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as file:
        for inside, text in files.items():
            file.writestr(inside, text)
    return path


def make_index(folder):
    """Write the wheels that the tiny project needs, some in two versions."""
    make_wheel(folder, "tiny_backend", module=BACKEND)
    for version in ("1.0", "1.1"):
        make_wheel(folder, "small", version)
    make_wheel(folder, "bigger", requires=['penguin; sys_platform == "linux"'])
    make_wheel(folder, "penguin")
    return folder


def use_index(monkeypatch, folder):
    """Let pip find these wheels and no others."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def commit(folder, **files):
    """Write files, with an underscore for the dot of their names, and commit them."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "Change"]):
        subprocess.run(["git", "-C", folder, *command], check=True)


def make_repository(folder):
    """Make the clone of a package whose doctor tells how it was called."""
    package = folder / "eeglab_models"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(DOCTOR)
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    commit(folder, pyproject_toml=PYPROJECT, constraints_txt="# Pins\nsmall==1.0\nbigger==1.0\n")
    return folder
