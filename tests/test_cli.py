"""The commands as a person types them: what they print, write and return."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechvae import SpeechVAEError, cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(voice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in an empty folder with the test voice; returns exit code, stdout and stderr."""
    from speechvae.synthesis import Voice

    def load(name: str = "kathleen", lexicon: Any = None) -> Any:
        if name in ("kathleen", "test"):
            return voice
        return original(name)

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


def subprocess_run(*args: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "speechvae", *args] if code is None else [sys.executable, "-c", code]
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


# -- help ------------------------------------------------------------------------------------------------------------

COMMANDS = ["prepare", "train", "reconstruct", "export", "say", "batch", "voices", "info", "evaluate", "demo"]


def test_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_teaches(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0 and f"Usage: speechvae {name}" in out
    if name not in ("voices", "info"):
        assert "Examples:" in out and f"  speechvae {name} " in out


def test_help_loads_no_model_library() -> None:
    script = (
        "import sys\nfrom speechvae.cli import main\n"
        "for args in (['--help'], ['say', '--help'], ['train', '--help'], ['--version']):\n"
        "    try: main(args)\n"
        "    except SystemExit as e: assert e.code == 0, e\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'torch', 'torchaudio', 'transformers', 'gradio', 'matplotlib', 'librosa', 'gruut', 'numpy'}))"
    )
    done = subprocess_run(code=script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "speechvae 0." in done.stdout


def test_wrong_usage_is_two(run: Run) -> None:
    for args in (["shout"], ["say", "--loud", "x"], ["say"], ["say", "a", "-f", "b"], ["say", "x", "--seed", "-1"],
                 ["say", "x", "--temperature", "hot"], ["train", "c.yaml", "--stage", "all"],
                 ["prepare", "--work", "w"]):  # fmt: skip
        code, out, err = run(*args)
        assert code == 2 and "Error" in err and out == "", args


# -- say -------------------------------------------------------------------------------------------------------------


def test_say_writes_out_wav_again_and_again(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        code, out, err = run("say", "Hello there.")
        assert code == 0, err
        wav, rate = soundfile.read("out.wav")
        assert out.startswith(f"out.wav: {len(wav) / rate:.2f} s, seed ") and ", rtf 0" in out
    assert [p.name for p in tmp_path.iterdir()] == ["out.wav"]


def test_say_same_seed_same_file(run: Run, voice: Any) -> None:
    for name, seed in (("a.wav", "7"), ("b.wav", "7"), ("c.wav", "8")):
        assert run("say", "Hello there.", "-o", name, "--seed", seed)[0] == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes() != Path("c.wav").read_bytes()
    wav, _ = soundfile.read("a.wav", dtype="float32")
    np.testing.assert_allclose(wav, voice.say("Hello there.", seed=7).wav, atol=1 / 32000)


def test_say_reported_seed_repeats_the_reading(run: Run) -> None:
    _, out, _ = run("say", "Hello there.", "-o", "a.wav")
    seed = out.split("seed ")[1].split(",")[0]
    run("say", "Hello there.", "-o", "b.wav", "--seed", seed)
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_say_passes_every_setting_on(run: Run, voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    stream = type(voice).stream

    def watching(self: Any, text: str, **kwargs: Any) -> Any:
        seen.update(kwargs, text=text)
        return stream(self, text, **kwargs)

    monkeypatch.setattr(type(voice), "stream", watching)
    code, _, err = run("say", "<speak>Hi.</speak>", "--ssml", "--speaker", "two", "--seed", "3", "--temperature", "0.5",
                       "--style-temperature", "0.25", "--length-scale", "1.5", "--voice", "test")  # fmt: skip
    assert code == 0, err
    assert seen == {
        "text": "<speak>Hi.</speak>", "ssml": True, "speaker": "two", "seed": 3, "temperature": 0.5,
        "style_temperature": 0.25, "length_scale": 1.5,
    }  # fmt: skip


@pytest.mark.parametrize("args", [["-"], ["-f", "-"], ["-f", "text.txt"]])
def test_say_reads_files_and_pipes(run: Run, args: list[str]) -> None:
    text = 'Grüße, "quotes" and it\'s $5.'
    Path("text.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    code, out, err = run("say", *args, "-o", "x.wav", "--seed", "1", stdin=text.encode())
    assert code == 0, err
    run("say", text, "-o", "y.wav", "--seed", "1")
    assert Path("x.wav").read_bytes() == Path("y.wav").read_bytes()


def test_say_keeps_a_named_file(run: Run) -> None:
    Path("mine.wav").write_bytes(b"mine")
    code, out, err = run("say", "Hello.", "-o", "mine.wav")
    assert code == 1 and out == "" and "mine.wav exists already" in err and "--force" in err
    assert Path("mine.wav").read_bytes() == b"mine"
    assert run("say", "Hello.", "-o", "mine.wav", "--force")[0] == 0
    assert Path("mine.wav").read_bytes()[:4] == b"RIFF"


@pytest.mark.parametrize("text", ["", "   ", "?!...", "🙂🙂"])
def test_say_nothing_is_silence(run: Run, text: str) -> None:
    code, out, err = run("say", text)
    assert code == 0, err
    wav, rate = soundfile.read("out.wav")
    assert 0.1 <= len(wav) / rate <= 0.5 and not np.any(wav)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["say", "-f", "nowhere.txt"], "nowhere.txt: No such file"),
        (["say", "-f", "latin1.txt"], "not UTF-8 text (byte 2)"),
        (["say", "-f", "."], "Is a directory"),
        (["say", "Hi.", "-o", "x.doc"], "format of x.doc"),
        (["say", "Hi.", "--voice", "nobody"], "nobody"),
        (["say", "Hi.", "--speaker", "nobody"], "no speaker 'nobody'"),
        (["say", "<speak>", "--ssml"], "SSML"),
        (["say", "broken \udcff text"], "not valid UTF-8"),
        (["info", "nobody"], "nobody"),
        (["batch", "nowhere.txt", "-o", "d"], "nowhere.txt: No such file"),
        (["prepare", "--corpus", "nowhere", "--work", "w"], "nowhere"),
        (["prepare", "nowhere.yaml", "--corpus", ".", "--work", "w"], "nowhere.yaml"),
        (["train", "nowhere.yaml", "--stage", "vae", "--work", "w"], "nowhere.yaml"),
        (["train", "odd.yaml", "--stage", "vae", "--work", "w"], "odd_key"),
        (["export", "nowhere", "-o", "v"], "nowhere"),
        (["evaluate", "nobody", "--corpus", "."], "nobody"),
    ],
)
def test_errors_are_one_clear_message(run: Run, args: list[str], message: str) -> None:
    Path("latin1.txt").write_bytes("Grün".encode("latin-1"))
    Path("odd.yaml").write_text("odd_key: 1\n", encoding="utf-8")
    code, out, err = run(*args)
    assert code == 1, (out, err)
    assert err.startswith("speechvae: ") and message in err and "Traceback" not in err
    assert not list(Path().glob("*.part"))


def test_debug_shows_the_traceback(run: Run) -> None:
    with pytest.raises(SpeechVAEError, match="no speaker"):
        run("--debug", "say", "Hi.", "--speaker", "nobody")


def test_a_failing_process_prints_no_traceback(tmp_path: Path) -> None:
    done = subprocess_run("say", "-f", str(tmp_path / "nowhere.txt"))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"speechvae: {tmp_path}/nowhere.txt: No such file or directory\n"


# -- batch, voices, info, export -------------------------------------------------------------------------------------


def test_batch(run: Run, tmp_path: Path) -> None:
    Path("lines.txt").write_text("a|Hello.\nb|Bye.\na|Twice.\n", encoding="utf-8")
    code, out, err = run("batch", "lines.txt", "-o", "d", "--seed", "1")
    assert code == 1 and "d: 2 written, 0 there already, 1 failed" in out
    assert "line 3 (a): the id was used before, in line 1" in err
    assert sorted(p.name for p in Path("d").iterdir()) == ["a.wav", "b.wav", "manifest.jsonl"]
    code, out, _ = run("batch", "-", "-o", "d", "--seed", "1", stdin=b"a|Hello.\nb|Bye.\nc|New.\n")
    assert code == 0 and "d: 1 written, 2 there already, 0 failed" in out


def test_voices(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from speechvae import synthesis

    shown = synthesis.VoiceInfo("anna", "en-us", ["one", "two"], Path("/voices/anna"), "A test voice.")
    monkeypatch.setattr(synthesis, "list_voices", lambda: [shown])
    code, out, _ = run("voices")
    assert code == 0 and out.split() == ["anna", "en-us", "one,", "two", "A", "test", "voice."]
    assert json.loads(run("voices", "--json")[1]) == [
        {
            "name": "anna", "language": "en-us", "speakers": ["one", "two"], "path": "/voices/anna",
            "description": "A test voice.",
        }
    ]  # fmt: skip


def test_info(run: Run, voice: Any) -> None:
    code, out, _ = run("info", "test")
    assert code == 0 and "speakers             one, two" in out and "torch 2.11" in out
    facts = json.loads(run("info", "test", "--json")[1])
    assert facts["parameters"] == voice.info()["parameters"] and facts["versions"]["speechvae"]


def test_export_keeps_a_voice(run: Run) -> None:
    Path("v").mkdir()
    Path("v/voice.yaml").write_text("name: mine\n", encoding="utf-8")
    code, _, err = run("export", "work", "-o", "v")
    assert code == 1 and "--force" in err
    assert Path("v/voice.yaml").read_text(encoding="utf-8") == "name: mine\n"


# -- what the documents say ------------------------------------------------------------------------------------------


def documented_commands() -> list[tuple[str, list[str]]]:
    root = Path(__file__).resolve().parents[1]
    found = []
    for path in [root / "README.md", *sorted(root.glob("recipes/*/README.md"))]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("speechvae ") or "| speechvae " in line:
                command = line[line.index("speechvae ") :]
                found.append((f"{path.parent.name}: {line}", shlex.split(command, comments=True)[1:]))
    return found


def test_documented_commands_exist(run: Run) -> None:
    commands = documented_commands()
    assert len(commands) > 15
    for where, (name, *args) in commands:
        code, out, _ = run(name, "--help")
        assert code == 0, where
        known = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", out.split("Examples:")[0]))
        for option in (a for a in args if a.startswith("-") and a != "-"):
            assert option in known, where
