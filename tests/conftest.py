"""What several test files share."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Callable
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


@pytest.fixture(scope="module")
def small(voice: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small voice with a random aligner, loaded from a folder."""
    import torch

    from speechvae import Voice
    from speechvae.config import AlignerConfig
    from speechvae.models.aligner import Aligner
    from speechvae.voice_files import save_voice

    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    aligner = Aligner(voice.settings.audio.n_mels, len(voice.settings.symbols), AlignerConfig(dim=16, layers=1))
    save_voice(folder, voice.settings, voice.model, voice.vocoder, aligner)
    return Voice.load(folder)


@pytest.fixture(scope="module")
def kathleen() -> Any:
    """The shipped voice."""
    from speechvae import Voice

    return Voice.load("kathleen")


@pytest.fixture(scope="module")
def clip(shared_dir: Path) -> tuple[Any, int]:
    """Samples and rate of a recording of kathleen (a0210_1, of the dev split)."""
    from speechvae.audio import load

    return load(shared_dir / "corpora" / "kathleen" / "audio" / "a0210_1.opus")


@pytest.fixture(scope="session")
def recipe_script() -> Callable[[str], ModuleType]:
    """A script of a recipe as a module, by its place in `recipes`, such as "toy/generate.py"."""

    def load(name: str) -> ModuleType:
        path = ROOT / "recipes" / name
        spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(path.parent))  # as when it is run: scripts import their neighbours
            spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def toy_recipe(recipe_script: Callable[[str], ModuleType]) -> ModuleType:
    """The generator of the toy corpus."""
    return recipe_script("toy/generate.py")


@pytest.fixture
def run(
    voice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:  # fmt: skip
    """Run a command line in an empty folder with the test voice; returns exit code, stdout and stderr."""
    from speechvae import cli
    from speechvae.synthesis import Voice

    def load(name: str = "kathleen", lexicon: Any = None, vocoder: Any = None) -> Any:
        if name in ("kathleen", "test") and vocoder is None:
            return voice
        return original(name, vocoder=vocoder)

    original = Voice.load
    monkeypatch.setattr(Voice, "load", load)
    monkeypatch.chdir(tmp_path)

    def go(*args: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        try:
            code = cli.main([*args])
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 0
        finally:
            cli._settings["debug"] = False
        done = capsys.readouterr()
        return code, done.out, done.err

    return go
