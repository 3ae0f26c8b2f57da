"""Files of a model: found in a folder or downloaded from the Hub, and read without running anything."""

import hashlib
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from eeglab_models.configs import about, check_value, parse_json, read_json, read_text
from eeglab_models.files import DIGEST, hash_file
from eeglab_models.models.report import hash_tensors

CONFIG_FILE = constants.CONFIG_NAME
WEIGHTS_FILE = constants.SAFETENSORS_SINGLE_FILE
INDEX_FILE = constants.SAFETENSORS_INDEX_FILE
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
CONVERT = "Convert pickled weights once, where you trust them: eeglab-models convert FILE FOLDER."


def locate(
    source: str, filename: str, hub: dict[str, Any], subfolder: str = ""
) -> tuple[Path | None, list[Path]]:
    """Find the configuration and the files of weights; a single file may come without a configuration."""
    path = Path(source)
    if not path.is_file() and path.suffix not in {".safetensors", *PICKLES}:
        inside = f"{subfolder.rstrip('/')}/" if subfolder else ""
        check_names(inside + filename, hub["revision"], hub["token"])
        config = fetch(source, inside + CONFIG_FILE, hub)
        # A branch may move in between: all files have to come from one commit.
        parts = config.parts
        commit = parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-2] else hub["revision"]
        hub["revision"] = commit
        try:
            return config, [fetch(source, inside + filename, hub)]
        except (FileNotFoundError, ConnectionError):
            if filename != WEIGHTS_FILE or not is_listed(source, inside, hub):
                raise
        return config, fetch_listed(source, inside, hub)
    if subfolder:
        raise ValueError(f"subfolder={subfolder!r} is looked for in folders and repositories, got {source}.")
    if path.suffix == ".safetensors" and not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Check its name, or pass a folder.")
    weights = fetch(str(path.parent), path.name, hub)
    config = path.with_name(CONFIG_FILE)
    return (config if config.is_file() else None), [weights]


def fetch(source: str, filename: str, hub: dict[str, Any]) -> Path:
    """Find a file in a folder or download it from the Hub, its content checked against the stated hash.

    `hub` holds arguments of `huggingface_hub.hf_hub_download`: revision, cache_dir, force_download,
    local_files_only, token. Links inside a folder are followed, because the Hub's cache is made of them.
    """
    check_names(filename, hub.get("revision"), hub.get("token"))
    folder = Path(source)
    if folder.is_dir():
        return check_content(find_in_folder(folder, filename))
    try:
        path = Path(hf_hub_download(source, filename, **hub))
    except (HTTPError, OSError, ValueError) as error:
        # What the system says of a full disk or a closed folder is clear already.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        failure = explain(error, source, filename, hub)
    else:
        return check_content(path)
    # Raised outside the handler: the client's own errors quote what a server says, be it the token.
    raise failure


def check_names(filename: str, revision: str | None, token: str | bool | None) -> None:
    """Refuse names that lead out of a repository or a cache, and tokens that no request can carry."""
    for kind, name in (("filename", filename), ("revision", revision)):
        if name is None:
            continue
        plain = name and not re.search(r"^\w:|[\\\x00-\x1f]", name)
        if not plain or name.startswith(("/", "~")) or {"", ".", ".."} & set(name.split("/")):
            raise ValueError(
                f"{kind} must be a name inside the repository, such as {WEIGHTS_FILE!r} or 'main', "
                f"got {name!r}. Leave out '..', backslashes, a drive and a leading slash."
            )
    if PurePosixPath(filename).suffix not in (".safetensors", ".json"):
        raise ValueError(f"Weights are read from safetensors files only, got {filename!r}. {CONVERT}")
    if isinstance(token, str) and not re.fullmatch(r"[!-~]+", token):
        raise ValueError(
            "token must be one word of plain characters, got one that is empty or holds a space, a line "
            "break or an accent. Copy it again; token.strip() helps with a token that was read from a file."
        )


def find_in_folder(folder: Path, filename: str) -> Path:
    """Find a file in a folder, or say what lies there instead."""
    path = folder / filename
    if path.is_file():
        return path
    others = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    found = f"; {', '.join(others)} can run code when opened and is refused. {CONVERT}" if others else "."
    raise FileNotFoundError(f"{folder} holds no {filename}{found}")


# What is raised for the client's errors, narrow classes before wide ones, and what it says.
SENTENCES = {
    PermissionError: {
        GatedRepoError: "{source!r} asks for consent to its terms, which this login has not given. Accept "
        "them at {hub}/{source}, then log in with: hf auth login.",
    },
    FileNotFoundError: {
        HFValidationError: "{source!r} is neither a folder nor a readable Hub repository. "
        "Check the path, or write the repository as 'user/model'.",
        (LocalEntryNotFoundError, OfflineModeIsEnabled): "{file} is not in the cache and the Hub cannot be "
        "reached while offline. Load it once with a network, or pass a folder.",
        RepositoryNotFoundError: "{source!r} is neither a folder nor a readable Hub repository: the Hub "
        "answered {status}. Check the name, or log in with: hf auth login.",
        RevisionNotFoundError: "{source!r} has no revision {revision!r}. "
        "Check the branch, tag or commit at {hub}/{source}.",
        EntryNotFoundError: "The Hub repository {source!r} holds no {filename} at revision {revision!r}. "
        + CONVERT,
    },
    ConnectionError: {
        FileMetadataError: "{hub} does not answer as a Hub when asked for {file}. "
        "Check HF_ENDPOINT, proxy and firewall.",
    },
}


def explain(error: Exception, source: str, filename: str, hub: dict[str, Any]) -> Exception:
    """Say in one sentence what kept a file from being downloaded; never quotes the server or the token."""
    # The client wraps what went wrong while it looked into the cache.
    wrapped = isinstance(error, LocalEntryNotFoundError) or type(error) is ValueError
    reason = (wrapped and error.__cause__) or error
    status = getattr(getattr(reason, "response", None), "status_code", None)
    revision = hub.get("revision") or constants.DEFAULT_REVISION
    file = f"{filename} of {source!r} at revision {revision!r}"
    facts = {"source": source, "filename": filename, "revision": revision, "file": file, "status": status}

    offline = isinstance(reason, LocalEntryNotFoundError | OfflineModeIsEnabled)
    if hub.get("force_download") and (hub.get("local_files_only") or offline):
        return ValueError(
            "force_download=True needs the Hub, got local_files_only=True or HF_HUB_OFFLINE=1. Drop one."
        )
    for kind, sentences in SENTENCES.items():
        for cause, sentence in sentences.items():
            if isinstance(reason, cause):
                return kind(sentence.format(hub=constants.ENDPOINT, **facts))
    if status in (401, 403):
        return PermissionError(
            f"The Hub refused {file} with status {status}: the token is invalid or may not read it. "
            "Log in with: hf auth login, or pass another token."
        )
    if status is not None:
        return ConnectionError(
            f"The Hub answered with status {status} when asked for {file}. Try again later, or pass a folder."
        )
    name = type(reason).__name__
    if reason is error:
        return ConnectionError(
            f"The download of {file} broke off before the file was complete ({name}). Try again."
        )
    return ConnectionError(
        f"The Hub at {constants.ENDPOINT} cannot be reached ({name}) and {file} is not in the cache. "
        "Check the network, or pass a folder."
    )


def check_content(path: Path) -> Path:
    """Refuse a file of the Hub's cache whose content has another hash than the Hub stated for it."""
    if not path.is_symlink():
        return path
    # The cache names a file's content by its hash; only the first link counts, the next may leave the cache.
    blob = path.parent / path.readlink()
    stated = blob.name
    if blob.parent.name != "blobs" or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", stated):
        return path
    # Git names small files by the SHA-1 of a header and the content; mirrors leave the header out.
    header = b"blob %d\0" % path.stat().st_size
    starts = [b""] if len(stated) == 64 else [header, b""]
    digests = [hash_content(blob, start, "sha256" if len(stated) == 64 else "sha1") for start in starts]
    if stated not in digests:
        raise ValueError(
            f"{path} was altered or damaged: the Hub states the hash {stated[:12]}, its content has "
            f"{digests[0][:12]}. Delete {blob.resolve()}, or load once with force_download=True."
        )
    return path


def hash_content(path: Path, header: bytes, algorithm: str) -> str:
    """Hash a header and the content of a file, piece by piece."""
    start = hashlib.new(algorithm, header, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: start).hexdigest()


def read_config(path: Path) -> dict[str, Any]:
    """Read a constructor's arguments from a JSON file, or say what it holds instead."""
    return check_finite(path, parse_json(read_text(path), path, with_nan=True))


def check_finite(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Refuse arguments that are no numbers; inside lists they are common: an unknown position."""
    for argument, value in config.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{path} must give finite numbers, got {argument}={value}. Correct the file.")
    return config


def read_promise(weights: Path, config: Path) -> dict[str, Any]:
    """Read a configuration, or that of the weights where saving broke off before it replaced the older."""
    with safe_open(weights, "pt") as file:
        metadata = file.metadata() or {}
    if "config" in metadata and metadata.get("replaces") == hash_file(config):
        return check_finite(weights, parse_json(metadata["config"], weights, with_nan=True))
    return read_config(config)


def is_listed(source: str, inside: str, hub: dict[str, Any]) -> bool:
    """Whether there is an index of several files of weights."""
    with suppress(FileNotFoundError, ConnectionError):
        return fetch(source, inside + INDEX_FILE, hub).is_file()
    return False


def fetch_listed(source: str, inside: str, hub: dict[str, Any]) -> list[Path]:
    """Find the files that share the weights of a large model, as their index lists them."""
    index = fetch(source, inside + INDEX_FILE, hub)
    listed = check_value(f"weight_map of {index}", read_json(index).get("weight_map"), dict[str, str])
    if not listed:
        raise ValueError(f"{index} lists no files of weights. Download or save the model again.")
    with about(index):
        return [fetch(source, inside + name, hub) for name in sorted(set(listed.values()))]


def write_weights(path: Path, tensors: Mapping[str, Tensor], **facts: str) -> None:
    """Write tensors, wherever they are, with their hash, by which `read_weights` knows them."""
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(own, path, metadata={"format": "pt", DIGEST: hash_tensors(own), **facts})


def read_weights(*paths: Path) -> dict[str, Tensor]:
    """Read safetensors files, or say which is none: a header is checked before a tensor is read."""
    weights: dict[str, Tensor] = {}
    for path in paths:
        try:
            with safe_open(path, "pt") as file:
                stated = (file.metadata() or {}).get(DIGEST)
            part = load_file(path)
        except SafetensorError as error:
            raise ValueError(
                f"{path} is no complete safetensors file ({error}). Download or save it again."
            ) from error
        if stated not in (None, hash_tensors(part)):
            raise ValueError(
                f"{path} was altered or damaged: its tensors have another hash than those that were saved. "
                "Download or save it again."
            )
        if twice := sorted(part.keys() & weights):
            raise ValueError(f"{path} holds {twice[0]}, which another file holds too. Keep one of them.")
        weights |= part
    return weights
