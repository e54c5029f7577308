"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Nothing here may wait for, or speak to, a server on the internet.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


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
