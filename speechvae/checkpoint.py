"""Weights and training state on disk: safetensors and JSON, never pickles; whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speechvae.errors import SpeechVAEError


def save_weights(path: str | Path, tensors: dict[str, Tensor], half: bool = False, mark: str | None = None) -> Path:
    """Write tensors, in half precision if asked; the file appears whole or not at all.

    `mark`: the audio fingerprint that `fingerprint` will find.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    out = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    if half:
        out = {k: v.half() if v.is_floating_point() else v for k, v in out.items()}
    tmp = path.with_name(f".{path.name}.{os.getpid()}.part")
    save_file(out, str(tmp), metadata=None if mark is None else {"fingerprint": mark})
    os.chmod(tmp, 0o644)
    os.replace(tmp, path)
    return path


def fingerprint(path: str | Path) -> str | None:
    """The audio fingerprint stored in a weights file, if any."""
    with safe_open(str(path), "pt") as f:
        return (f.metadata() or {}).get("fingerprint")


def load_weights(path: str | Path, what: str) -> dict[str, Tensor]:
    """Read tensors as float32; `what` names the file in the error."""
    path = Path(path)
    if not path.is_file():
        raise SpeechVAEError(f"{what}: no file at {path}")
    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as e:
        raise SpeechVAEError(f"{what}: {path} is damaged or not a safetensors file ({e}); restore or retrain it") from e
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def fill(module: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Load weights into a module; missing, unknown and misshapen ones are named."""
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shaped = [k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape]
    if missing or unknown or shaped:
        found = {"missing": missing, "unknown": unknown, "other shape": shaped}
        parts = [f"{kind}: {', '.join(names[:3])}" for kind, names in found.items() if names]
        raise SpeechVAEError(f"{what} does not fit the model ({'; '.join(parts)}): its config is of another version")
    bad = [k for k, v in tensors.items() if not torch.isfinite(v).all()]
    if bad:
        raise SpeechVAEError(f"{what} holds non-finite weights ({bad[0]}): the file is damaged; restore or retrain it")
    module.load_state_dict(tensors)


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimiser's state, keyed `INDEX.NAME`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{k}": v for i, s in state.items() for k, v in s.items() if isinstance(v, Tensor)}


def unflatten_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    full = optimizer.state_dict()
    full["state"] = state
    optimizer.load_state_dict(full)


class CheckpointStore:
    """`FOLDER/last` (and `FOLDER/previous`), each a folder of safetensors files and `state.json`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.last = self.folder / "last"

    def exists(self) -> bool:
        return (self.last / "state.json").is_file()

    def save(self, files: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Write a new `last`; the one before becomes `previous`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part, previous = self.folder / "part", self.folder / "previous"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name, tensors in files.items():
            save_weights(part / f"{name}.safetensors", tensors)
        (part / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        if self.last.exists():
            shutil.rmtree(previous, ignore_errors=True)
            os.replace(self.last, previous)
        os.replace(part, self.last)

    def load(self, name: str) -> dict[str, Tensor]:
        what = f"checkpoint (the one before is in {self.folder / 'previous'})"
        return load_weights(self.last / f"{name}.safetensors", what)

    def state(self) -> dict[str, Any]:
        path = self.last / "state.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            before = self.folder / "previous"
            raise SpeechVAEError(f"{path} cannot be read ({e}); copy {before} over it, or start anew") from e
