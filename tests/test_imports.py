"""The direction of the imports: who may know whom, read from the source and seen in a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "speechvae"


def name_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every module a file imports, anywhere in it, except for type checking only."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


FILES = {name_of(p): p for p in sorted(PACKAGE.rglob("*.py"))}
GRAPH = {name: {i for i in imports_of(path) if i in FILES and i != name} for name, path in FILES.items()}


def reach(start: str) -> set[str]:
    """The modules of the package that `start` imports, directly or not; a submodule brings its parents along."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        parents = [".".join(name.split(".")[:n]) for n in range(2, name.count(".") + 1)]
        todo += [*GRAPH.get(name, ()), *(p for p in parents if p in FILES)]
    return seen - {start}


def external(modules: set[str]) -> set[str]:
    return {i.split(".")[0] for name in modules for i in imports_of(FILES[name])}


def test_there_is_something_to_walk() -> None:
    assert len(FILES) > 15
    assert "speechvae.config" in GRAPH["speechvae.trainer"]


def test_no_import_cycles() -> None:
    # A package may collect names from its own files, which may in turn name the package.
    edges = {name: {i for i in found if not name.startswith(f"{i}.")} for name, found in GRAPH.items()}
    for name in edges:
        seen: set[str] = set()
        todo = list(edges[name])
        while todo:
            other = todo.pop()
            if other not in seen:
                seen.add(other)
                todo += edges[other]
        assert name not in seen, f"{name} imports itself by way of others"


@pytest.mark.parametrize("forbidden", ["trainer", "dataset", "losses", "prepare", "corpus", "evaluate", "cli"])
def test_synthesis_never_needs_training(forbidden: str) -> None:
    assert f"speechvae.{forbidden}" not in reach("speechvae.synthesis")


def test_trainer_needs_neither_frontend_nor_page() -> None:
    modules = reach("speechvae.trainer") | {"speechvae.trainer"}
    outside = external(modules)
    assert not outside & {"gruut", "gradio", "phonemizer", "typer", "pydub"}, outside
    assert not {m for m in modules if m in {"speechvae.text.frontend", "speechvae.text.normalize"}}


def test_nothing_below_knows_the_commands() -> None:
    commands = {name for name in GRAPH if name == "speechvae.__main__" or name.startswith("speechvae.cli")}
    users = {name for name, found in GRAPH.items() if found & commands}
    assert len(commands) > 4 and users <= commands


@pytest.mark.parametrize("module", sorted(FILES))
def test_package_imports_neither_demo_nor_recipes(module: str) -> None:
    assert not {i.split(".")[0] for i in imports_of(FILES[module])} & {"demo", "speechvae_demo", "recipes", "tests"}


@pytest.mark.parametrize("folder", ["demo", "recipes"])
def test_demo_and_recipes_import_only_the_package(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    for path in files:
        tops = {i.split(".")[0] for i in imports_of(path) if not i.startswith(folder)}
        assert not tops & {"demo", "speechvae_demo", "recipes", "tests"}, path
        if folder == "demo":
            inside = {i for i in imports_of(path) if i.startswith("speechvae.") and i in FILES}
            assert inside <= {"speechvae.batch", "speechvae.synthesis", "speechvae.takes", "speechvae.errors"}, path
    own = {i for path in files for i in imports_of(path) if i.startswith("recipes.")}
    for name in own:
        assert name.split(".")[1] in {p.relative_to(ROOT / "recipes").parts[0] for p in files}


def loaded_by(code: str) -> set[str]:
    """Top-level modules in memory after `code` ran in a fresh interpreter."""
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return {line.split(".")[0] for line in done.stdout.splitlines()}


def test_import_of_the_package_is_light() -> None:
    loaded = loaded_by("import speechvae; speechvae.__version__; dir(speechvae)")
    heavy = {"torch", "torchaudio", "gradio", "transformers", "matplotlib", "librosa", "gruut", "soundfile", "numpy"}
    assert "speechvae" in loaded
    assert not loaded & heavy


def test_training_loads_neither_frontend_nor_page() -> None:
    loaded = loaded_by("import speechvae.trainer")
    assert "torch" in loaded
    assert not loaded & {"gruut", "gradio", "typer", "phonemizer"}


def test_synthesis_loads_no_training() -> None:
    script = "import speechvae.synthesis, sys; print('\\n'.join(m for m in sys.modules if m.startswith('speechvae')))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "speechvae.synthesis" in loaded
    assert not loaded & {"speechvae.trainer", "speechvae.dataset", "speechvae.losses", "speechvae.corpus"}


def test_public_names() -> None:
    import speechvae

    for name in speechvae.__all__:
        assert getattr(speechvae, name) is not None
    assert set(speechvae.__all__) <= set(dir(speechvae))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        speechvae.Nonsense  # noqa: B018


def test_every_package_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"]) - {"speechvae_demo"}
    assert listed == {name_of(p) for p in PACKAGE.rglob("__init__.py")}


def test_every_import_is_a_declared_dependency() -> None:
    import importlib.metadata
    import re

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*settings["dependencies"], *(d for extra in settings["optional-dependencies"].values() for d in extra)]
    declared = {re.split(r"[\[<>= ]", d)[0].lower().replace("_", "-") for d in wanted} | {"speechvae"}
    homes = importlib.metadata.packages_distributions()
    homes = {**homes, "parselmouth": ["praat-parselmouth"]}
    optional = {"datasets"}
    missing = set()
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "demo").rglob("*.py")]:
        for top in {i.split(".")[0] for i in imports_of(path)} - set(sys.stdlib_module_names) - optional:
            if top in {"", "demo", "speechvae"}:
                continue
            names = {d.lower().replace("_", "-") for d in homes.get(top, [top])}
            if not names & declared:
                missing.add(f"{top} ({path.relative_to(ROOT)})")
    assert not missing, "imported but not in pyproject.toml"
