"""The commands that write: what they print, speak and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import yaml

Run = Callable[..., tuple[int, str, str]]
W = ("--writer", "test")  # random weights: what it writes is no English
A, B = "Did you see the game?", "I like to read books."


def test_writing_is_repeatable_and_says_what_it_is(run: Run) -> None:
    code, first, err = run("write", "-n", "3", "--seed", "4", *W)
    assert code == 0 and len(first.splitlines()) == 3
    assert "seed 4" in err and "small model" in err and "nothing it says is checked" in err
    assert run("write", "-n", "3", "--seed", "4", *W)[1] == first
    assert run("write", "-n", "3", "--seed", "5", *W)[1] != first
    code, out, err = run("write", "-n", "2", *W)
    seed = err.split("seed ")[1].split(".")[0]
    assert run("write", "-n", "2", "--seed", seed, *W)[1] == out


def test_json_has_latents_and_costs(run: Run) -> None:
    code, out, err = run("write", "-n", "2", "--seed", "1", "--json", *W)
    data = json.loads(out)
    assert code == 0 and err == "" and data["seed"] == 1 and "small model" in data["note"]
    assert len(data["sentences"]) == 2
    assert all(len(s["z"]) == 4 and s["nats"] > 0 and s["tokens"] > 0 for s in data["sentences"])


def test_variations_paths_and_replies(run: Run) -> None:
    code, out, _ = run("write", "-n", "2", "--like", A, "--seed", "1", *W)
    assert code == 0 and len(out.splitlines()) == 2 and A not in out
    code, out, _ = run("write", "--between", A, B, "--steps", "4", *W)
    lines = out.splitlines()
    assert code == 0 and len(lines) == 4 and lines[0].endswith(A) and lines[-1].endswith(B)
    code, out, _ = run("reply", "Hello there.", "How are you?", "-n", "2", "--seed", "1", *W)
    assert code == 0 and len(out.splitlines()) == 2


def test_odd_lines_of_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text(f"{A}\n\nпривет, мир\n{'x' * 100_000}\n{B}\n", encoding="utf-8")
    code, out, err = run("write", "--odd", str(file), "-n", "3", *W)
    rows = out.splitlines()
    assert code == 0 and len(rows) == 4 and "4 lines judged" in err
    assert rows[1].split()[:2] == ["-", "4"] and "100000 characters" in rows[1]
    assert {r.split()[1] for r in rows[2:]} <= {"1", "3", "5"}
    code, out, _ = run("write", "--odd", str(file), "-n", "9", "--json", *W)
    assert code == 0 and sorted(j["number"] for j in json.loads(out)) == [1, 3, 4, 5]


@pytest.mark.parametrize("content, message", [
    (b"", "is empty"), (b"\x00\x01\x02", "binary file"), (b"caf\xe9", "UTF-8"), (b"\n\n", "is empty"),
])  # fmt: skip
def test_files_that_are_no_text(run: Run, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.txt").write_bytes(content)
    for command in (["write", "--odd", "bad.txt", *W], ["prepare-text", "--text", "bad.txt", "--work", "w"]):
        code, out, err = run(*command)
        assert code == 1 and out == "" and message in err and "bad.txt" in err, command
    assert not (tmp_path / "w").exists()


def test_refusals(run: Run) -> None:
    assert run("write", "--like", A, "--between", A, B, *W)[0] == 2
    assert run("write", "-n", "0", *W)[0] == 2
    code, _, err = run("write", "--writer", "shakespeare")
    assert code == 1 and "no writer 'shakespeare'" in err
    code, _, err = run("write", "--like", "привет, мир", *W)
    assert code == 1 and "never saw" in err
    code, _, err = run("write", "--like", "x" * 3000, *W)
    assert code == 1 and "3000 characters" in err
    code, _, err = run("reply", " ", *W)
    assert code == 1 and "no letters" in err
    code, _, err = run("write", "--block", "missing.txt", *W)
    assert code == 1 and "no text file at missing.txt" in err


def test_what_is_written_is_spoken(run: Run, tmp_path: Path) -> None:
    command = ["write", "--between", A, B, "--steps", "2", "--say", "--seed", "3", "-o", "said", *W]
    code, out, _ = run(*command)
    assert code == 0
    files = [tmp_path / "said" / f"between-3-{i}.wav" for i in (1, 2)]
    assert all(str(f.relative_to(tmp_path)) in out for f in files)
    first = [soundfile.read(f)[0] for f in files]
    assert all(len(w) > 2000 for w in first)
    rows = [json.loads(line) for line in (tmp_path / "said" / "manifest.jsonl").read_text().splitlines()]
    assert [r["text"] for r in rows] == [A, B]
    # The same again is there already; other words under the same names are not written over.
    before = files[0].stat().st_mtime_ns
    assert run(*command)[0] == 0 and files[0].stat().st_mtime_ns == before
    code, _, err = run("write", "--between", B, A, "--steps", "2", "--say", "--seed", "3", "-o", "said", *W)
    assert code == 1 and "--force" in err and files[0].stat().st_mtime_ns == before


def test_from_texts_to_a_writer(run: Run, tmp_path: Path) -> None:
    config = {
        "name": "mine", "text_vae": {
            "vocab": 320, "hidden": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "z_dim": 4,
            "components": 2, "train": {"steps": 4, "batch_size": 8},
        },
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    turns = [{"id": f"d{i}", "turns": [f"Do you have {i} dogs?", f"No, I have {i + 1} cats."]} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, turns)) + "\nnot json\n")
    code, out, _ = run("prepare-text", "c.yaml", "--text", "t.jsonl", "--work", "w")
    assert code == 0 and "120 turns" in out and "line 61" in out
    code, out, err = run("export-writer", "w", "-o", "mine")
    assert code == 1 and "no checkpoint of stage text_vae" in err
    code, out, err = run("train", "c.yaml", "--stage", "text_vae", "--work", "w", "--device", "cpu")
    assert code == 0 and "active_units" in out, err
    code, out, err = run("export-writer", "w", "-o", "mine")
    assert code == 0 and "MB" in out, err
    code, out, _ = run("write", "-n", "2", "--seed", "1", "--writer", "mine")
    assert code == 0 and out.startswith("  1  ")
    code, _, err = run("export-writer", "w", "-o", "mine")
    assert code == 1 and "--force" in err
    code, _, err = run("train", "c.yaml", "--stage", "text_vae", "--work", "nowhere")
    assert code == 1 and "prepare-text" in err
