"""The commands as a person types them: what they print, write and return."""

from __future__ import annotations

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

from speechvae import Edits, SpeechVAEError, Take

Run = Callable[..., tuple[int, str, str]]


def subprocess_run(*args: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "speechvae", *args] if code is None else [sys.executable, "-c", code]
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


# -- help ------------------------------------------------------------------------------------------------------------

COMMANDS = [
    "prepare", "train", "reconstruct", "export", "say", "batch", "takes", "perform", "blend", "words", "voices", "info",
    "evaluate", "demo", "write", "reply", "prepare-text", "export-writer",
]  # fmt: skip


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
        "for args in (['--help'], ['say', '--help'], ['train', '--help'], ['takes', '--help'], ['--version']):\n"
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
                 ["prepare", "--work", "w"], ["say", "x", "--pitch", "high"], ["say", "x", "--energy", "3st"],
                 ["say", "x", "--axis", "pitch"], ["say", "x", "--axis", "=1"], ["say", "x", "--break", "3"],
                 ["say", "x", "--emphasis", "x=loud="], ["say", "x", "--steadiness", "2"], ["takes"],
                 ["perform", "x.take.json"], ["perform", "x.take.json", "-o", "y.wav", "--seed", "1"],
                 ["blend", "a.take.json"], ["blend", "a", "b", "--from", "-2"]):  # fmt: skip
        code, out, err = run(*args)
        assert code == 2 and "Error" in err and out == "", args


# -- say -------------------------------------------------------------------------------------------------------------


def test_say_writes_out_wav_again_and_again(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        code, out, err = run("say", "Hello there.")
        assert code == 0, err
        wav, rate = soundfile.read("out.wav")
        assert out.startswith(f"out.wav: {len(wav) / rate:.2f} s, seed ") and ", rtf " in out
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
                       "--style-temperature", "0.25", "--length-scale", "1.5", "--voice", "test",
                       "--steadiness", "0.3", "--pitch", "+100%", "--range", "1.2", "--energy", "-3dB",
                       "--emphasis", "hi=0.5", "--break", "1=0.4")  # fmt: skip
    assert code == 0, err
    assert seen == {
        "text": "<speak>Hi.</speak>", "ssml": True, "speaker": "two", "seed": 3, "temperature": 0.5,
        "style_temperature": 0.25, "length_scale": 1.5, "steadiness": 0.3, "axes": {},
        "edits": Edits(12.0, 1.2, -3.0, ((1, 0.5),), ((1, 0.4),)),
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
        (["say", "Hi.", "--axis", "pitch=1"], "no axis 'pitch'; it has none"),
        (["say", "Hi.", "--pitch", "99"], "pitch must lie between -24 and 24"),
        (["say", "Hi.", "--emphasis", "wolf"], "--emphasis: the text has no word 'wolf'"),
        (["say", "Hi.", "--break", "2=1"], "there is no word 2: the text has 1 words"),
        (["say", "Hi.", "--save-take", "odd.yaml"], "odd.yaml exists already"),
        (["takes", "Hi.", "-o", "odd.yaml"], "odd.yaml is a file"),
        (["takes", "Hi.", "-o", "d", "-n", "30", "--pool", "10"], "30 takes from a pool of 10"),
        (["takes", "...", "-o", "d"], "the text has no words"),
        (["perform", "nowhere.take.json", "-o", "x.wav"], "no take at nowhere.take.json"),
        (["perform", "odd.yaml", "-o", "x.wav"], "odd.yaml is not a take file"),
        (["perform", "odd.yaml", "-o", "x.wav", "--reroll", "3-1"], "ranges go upwards"),
        (["perform", "odd.yaml", "-o", "odd.yaml"], "format of odd.yaml"),
        (["blend", "nowhere.take.json", "odd.yaml", "-o", "d"], "no take at nowhere.take.json"),
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


# -- takes, perform, blend, words ------------------------------------------------------------------------------------

SENTENCE = "Hello there, my friend."


@pytest.fixture
def drawn(run: Run, voice: Any) -> Take:
    """A take in a.take.json, another in b.take.json."""
    for name, seed in (("a", "1"), ("b", "2")):
        code, _, err = run("say", SENTENCE, "-o", f"{name}.wav", "--seed", seed, "--save-take", f"{name}.take.json")
        assert code == 0, err
    return Take.load("a.take.json")


def samples(path: str) -> np.ndarray:
    return soundfile.read(path, dtype="int16")[0]


def test_say_saves_the_take_it_spoke(run: Run, drawn: Take) -> None:
    assert drawn.seed == 1 and drawn.name == "a" and drawn.text == SENTENCE
    code, out, err = run("perform", "a.take.json", "-o", "again.wav")
    assert code == 0 and re.fullmatch(r"again.wav: \d+\.\d\d s, seed 1, (f0 \d+ Hz, .*st|no voice)\n", out), (out, err)
    assert np.array_equal(samples("again.wav"), samples("a.wav"))


def test_say_saves_a_take_of_several_sentences(run: Run) -> None:
    text = "One two. Three four. Five."
    args = ["--emphasis", "four", "--emphasis", "1=0.5", "--break", "four=0.3", "--pitch", "-1st"]
    assert run("say", text, "-o", "x.wav", "--save-take", "x.take.json", *args)[0] == 0
    take = Take.load("x.take.json")
    assert len(take.readings) == 3
    assert take.edits == Edits(pitch=-1.0, emphasis=((1, 0.5), (4, 1.0)), breaks=((4, 0.3),))
    assert run("perform", "x.take.json", "-o", "y.flac")[0] == 0
    assert np.abs(samples("x.wav").astype(int) - samples("y.flac")).max() <= 1  # formats round in their own ways


def test_emphasis_of_a_text_means_all_its_places(run: Run) -> None:
    run("say", "No. Oh no, no!", "-o", "x.wav", "--save-take", "x.take.json", "--emphasis", "NO")
    assert Take.load("x.take.json").edits.emphasis == ((1, 1.0), (3, 1.0), (4, 1.0))


def test_batch_records_the_style_and_sees_conflicts(run: Run) -> None:
    Path("lines.txt").write_text("a|Hello.\nb|Bye.\n", encoding="utf-8")
    args = ("batch", "lines.txt", "-o", "d", "--seed", "1")
    assert run(*args, "--pitch", "2", "--energy", "1", "--range", "1.1", "--steadiness", "0.5")[0] == 0
    row = json.loads(Path("d/manifest.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert row["steadiness"] == 0.5 and row["axes"] == {} and row["edits"]["pitch"] == 2.0
    code, out, _ = run(*args, "--pitch", "2", "--energy", "1", "--range", "1.1", "--steadiness", "0.5")
    assert code == 0 and "0 written, 2 there already" in out
    code, _, err = run(*args, "--pitch", "3", "--energy", "1", "--range", "1.1", "--steadiness", "0.4")
    assert code == 1 and "made with another steadiness, edits" in err


def test_takes_writes_readings_takes_and_a_sheet(run: Run, voice: Any) -> None:
    code, out, err = run("takes", SENTENCE, "-n", "3", "-o", "d", "--seed", "5", "--show-words", "--pitch", "1")
    assert code == 0, err
    assert sorted(p.name for p in Path("d").iterdir()) == [
        "contact-sheet.png", "take-1.take.json", "take-1.wav", "take-2.take.json", "take-2.wav", "take-3.take.json",
        "take-3.wav",
    ]  # fmt: skip
    assert Path("d/contact-sheet.png").read_bytes()[:4] == b"\x89PNG"
    lines = out.splitlines()
    assert lines[:4] == ["    1  Hello", "    2  there", "    3  my", "    4  friend"]
    for i, line in enumerate(lines[4:], start=1):
        take = Take.load(f"d/take-{i}.take.json")
        assert line.startswith(f"d/take-{i}.wav: ") and f"seed {take.seed}, " in line
        assert take.name == f"take-{i}" and take.edits.pitch == 1.0
        expected = voice.say(SENTENCE, seed=take.seed, edits=Edits(pitch=1.0)).wav
        np.testing.assert_allclose(samples(f"d/take-{i}.wav") / 32768, expected, atol=1 / 16000)
    code, _, err = run("takes", SENTENCE, "-n", "2", "-o", "d")
    assert code == 1 and "exists already" in err and "--force" in err
    assert run("takes", SENTENCE, "-n", "2", "-o", "d", "--force")[0] == 0


def test_perform_changes_a_take(run: Run, drawn: Take, voice: Any) -> None:
    args = ["--pitch", "2", "--emphasis", "friend", "--length-scale", "1.5", "--speaker", "two", "--name", "slow"]
    code, _, err = run("perform", "a.take.json", "-o", "x.wav", "--save-take", "x.take.json", *args)
    assert code == 0, err
    take = Take.load("x.take.json")
    assert (take.name, take.speaker, take.length_scale) == ("slow", "two", 1.5)
    assert take.edits == Edits(pitch=2.0, emphasis=((4, 1.0),))
    assert len(samples("x.wav")) > 1.2 * len(samples("a.wav"))
    assert run("perform", "x.take.json", "-o", "y.wav", "--range", "1.3", "--save-take", "y.take.json")[0] == 0
    assert Take.load("y.take.json").edits == Edits(pitch=2.0, range=1.3, emphasis=((4, 1.0),))
    code, out, _ = run("perform", "a.take.json", "-o", "z.wav", "--text", "Something else.", "--show-words")
    assert code == 0 and out.startswith("    1  Something\n    2  else\nz.wav: ")


def test_perform_rerolls_words(run: Run, drawn: Take, voice: Any) -> None:
    code, out, err = run("perform", "a.take.json", "-o", "x.wav", "--reroll", "2,4", "--save-take", "x.take.json")
    assert code == 0, err
    seed = out.split("reroll seed ")[1].strip()
    new = Take.load("x.take.json")
    expected = voice.reroll(drawn, [2, 4], int(seed))
    assert np.array_equal(new.readings[0].z_p, expected.readings[0].z_p)
    assert not np.array_equal(samples("x.wav"), samples("a.wav"))
    assert run("perform", "a.take.json", "-o", "y.wav", "--reroll", "2,4", "--seed", seed)[0] == 0
    assert Path("x.wav").read_bytes() == Path("y.wav").read_bytes()
    assert "no word 5: the text has 4 words" in run("perform", "a.take.json", "-o", "z.wav", "--reroll", "3-5")[2]


def test_perform_says_where_the_voice_is_missing(run: Run, drawn: Take) -> None:
    drawn.voice = "nobody"
    drawn.save("c.take.json")
    code, _, err = run("perform", "c.take.json", "-o", "x.wav")
    assert code == 1 and "the take was made with the voice 'nobody'" in err
    code, _, err = run("perform", "c.take.json", "-o", "x.wav", "--voice", "test")
    assert code == 1 and "made with the voice 'nobody', not 'test'" in err


def test_blend_goes_from_one_take_to_the_other(run: Run, drawn: Take) -> None:
    code, out, err = run("blend", "a.take.json", "b.take.json", "-o", "d", "--steps", "3")
    assert code == 0, err
    assert np.array_equal(samples("d/blend-1.wav"), samples("a.wav"))
    assert np.array_equal(samples("d/blend-3.wav"), samples("b.wav"))
    assert not np.array_equal(samples("d/blend-2.wav"), samples("a.wav"))
    assert "d/blend-2.wav: t = 0.50, " in out and Path("d/contact-sheet.png").exists()
    assert run("perform", "d/blend-2.take.json", "-o", "x.wav")[0] == 0
    assert np.array_equal(samples("x.wav"), samples("d/blend-2.wav"))
    beyond = ["--steps", "2", "--from", "-0.5", "--to", "1.5", "--words", "2-3"]
    code, out, _ = run("blend", "a.take.json", "b.take.json", "-o", "e", *beyond)
    assert code == 0 and "t = -0.50" in out and "t = 1.50" in out


def test_words_have_numbers(run: Run, drawn: Take) -> None:
    code, out, _ = run("words", "It is 42. Yes.")
    rows = [line.split(maxsplit=1) for line in out.splitlines()]
    assert code == 0 and [number for number, _ in rows] == [str(i) for i in range(1, len(rows) + 1)]
    assert rows[0][1] == "It" and rows[-1][1] == "Yes" and rows[2][1] == "42  (forty)"
    assert run("words", "a.take.json")[1] == "    1  Hello\n    2  there\n    3  my\n    4  friend\n"
    assert run("words", "...")[1] == "the text has no words\n"


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


def test_axes_are_listed_and_followed(run: Run, voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from speechvae.voice_files import Axis

    axes = {"pitch": Axis(z_u=[1.0, 0, 0, 0], z_p=[0.0, 0.5], sd=1.25, unit="semitones")}
    monkeypatch.setattr(voice, "settings", voice.settings.model_copy(update={"axes": axes}))
    assert "pitch 1 = 1.25 semitones" in run("info", "test")[1]
    code, _, err = run("say", "Hi.", "--axis", "pitch=+1.5", "--seed", "1", "-o", "x.wav", "--save-take", "x.take.json")
    assert code == 0, err
    take = Take.load("x.take.json")
    plain = voice.draw("Hi.", seed=1)
    assert take.axes == {"pitch": 1.5}
    assert np.allclose(take.readings[0].z_u - plain.readings[0].z_u, [1.5, 0, 0, 0], atol=1e-5)
    assert "it has pitch" in run("say", "Hi.", "--axis", "mood=1")[2]


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
