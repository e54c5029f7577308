"""What several test files share."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Nothing here may wait for, or speak to, a server on the internet.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


# A busy machine is no reason to fail.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the project."""
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with the speech corpora: $SPEECHVAE_SHARED, or `shared` beside the project."""
    named = os.environ.get("SPEECHVAE_SHARED")
    folder = Path(named) if named is not None else ROOT.parent / "shared"
    if not (folder / "corpora").is_dir():
        pytest.skip(f"no speech corpora at {folder} (set SPEECHVAE_SHARED to the folder that holds corpora/)")
    return folder


@pytest.fixture(scope="session")
def voice() -> Any:
    """A small voice with random weights, in memory."""
    from speechvae import Voice

    return Voice.silent_test_voice()


@pytest.fixture(scope="session")
def toy_recipe() -> ModuleType:
    """The generator of the toy corpus, `recipes/toy/generate.py`."""
    path = ROOT / "recipes" / "toy" / "generate.py"
    spec = importlib.util.spec_from_file_location("toy_generate", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
