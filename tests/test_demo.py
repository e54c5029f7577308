"""The demo page, driven over HTTP as a browser would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechvae import SpeechVAEError

pytest.importorskip("gradio")

TEXT = "The birch canoe slid on the smooth planks. Did you see it?"


@pytest.fixture(scope="module")
def loads() -> list[str]:
    """The names of the voices loaded by the page."""
    return []


@pytest.fixture(scope="module")
def client(voice: Any, loads: list[str]) -> Iterator[Any]:
    from gradio_client import Client

    from demo.app import build

    def loader(name: str) -> Any:
        loads.append(name)
        if name == "broken":
            raise SpeechVAEError("the weights of 'broken' are damaged: install it again")
        return voice

    page = build(loader, ["test", "broken"])
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, share=False)
    try:
        yield Client(url, verbose=False)
    finally:
        page.close(verbose=False)


def speak(client: Any, text: str = TEXT, **changes: Any) -> Any:
    settings = {
        "voice": "test", "speaker": "one", "seed": 5, "temperature": 0.6, "style_temperature": 1.0,
        "length_scale": 1.0, **changes,
    }  # fmt: skip
    return client.predict(text=text, api_name="/speak", **settings)


def test_speak_gives_sound_picture_words_and_seed(client: Any, voice: Any) -> None:
    sound, picture, words, seed, facts = speak(client)
    expected = voice.say(TEXT, seed=5, speaker="one", temperature=0.6, style_temperature=1.0)
    wav, rate = soundfile.read(sound, dtype="float32")
    assert rate == voice.sample_rate and seed == 5
    # the page must not turn the level up
    np.testing.assert_allclose(wav, expected.wav, atol=1 / 16000)
    assert Path(picture).stat().st_size > 10_000
    assert words["headers"] == ["word", "from (s)", "to (s)"]
    assert [row[0] for row in words["data"]] == [w.text for w in expected.words]
    assert [row[1] for row in words["data"]] == pytest.approx([w.start for w in expected.words], abs=0.006)
    assert f"{expected.duration:.2f} s" in facts and "seed **5**" in facts


def test_same_seed_same_reading_and_another_reading_differs(client: Any) -> None:
    first, again = soundfile.read(speak(client)[0])[0], soundfile.read(speak(client)[0])[0]
    np.testing.assert_array_equal(first, again)
    result = client.predict(
        voice="test", text=TEXT, speaker="one", temperature=0.6, style_temperature=1.0, length_scale=1.0,
        api_name="/another",
    )  # fmt: skip
    other, seed = soundfile.read(result[0])[0], result[3]
    assert seed != 5
    assert len(other) != len(first) or not np.allclose(other, first, atol=1e-3)
    np.testing.assert_array_equal(soundfile.read(speak(client, seed=seed)[0])[0], other)


def test_every_setting_arrives(client: Any, voice: Any) -> None:
    changed: dict[str, Any] = {"speaker": "two", "temperature": 0.1, "style_temperature": 0.2, "length_scale": 1.5}
    wav = soundfile.read(speak(client, **changed)[0], dtype="float32")[0]
    np.testing.assert_allclose(wav, voice.say(TEXT, seed=5, **changed).wav, atol=1 / 16000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "  \n"}, "type a sentence"),
        ({"voice": "broken"}, "damaged"),
        ({"seed": -1}, "seed|minimum|Minimum"),
    ],
)
def test_errors_in_plain_words(client: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        speak(client, **changes)
    assert "Traceback" not in str(caught.value)


def test_text_without_words_is_silence(client: Any) -> None:
    sound, _, words, _, _ = speak(client, text="...")
    wav, _ = soundfile.read(sound)
    assert len(wav) and not np.any(wav) and words["data"] in ([], [["", "", ""]])


def test_the_speakers_follow_the_voice(client: Any) -> None:
    update = client.predict(voice="test", api_name="/speakers")
    assert [choice[0] for choice in update["choices"]] == ["one", "two"] and update["value"] == "one"


def test_a_voice_is_loaded_once(client: Any, loads: list[str]) -> None:
    speak(client)
    assert loads.count("test") == 1


def test_many_visitors_at_once(client: Any) -> None:
    """Voices are not thread safe: the page must let one reading finish before the next begins."""
    alone = soundfile.read(speak(client)[0])[0]
    heard: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: heard.append(soundfile.read(speak(client)[0])[0])) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(heard) == 3
    for wav in heard:
        np.testing.assert_array_equal(wav, alone)


def test_no_voice_is_a_clear_error(voice: Any) -> None:
    from demo.app import build

    with pytest.raises(SpeechVAEError, match="no voice is installed"):
        build(lambda name: voice, [])


def test_too_long_a_text_is_refused(voice: Any) -> None:
    from demo.app import MAX_CHARACTERS, speak

    with pytest.raises(SpeechVAEError, match="speechvae say -f"):
        speak(voice, "a " * MAX_CHARACTERS, None, 1, 0.5, 0.5, 1.0)


@pytest.mark.parametrize("sentences", [1, 4, 30])
def test_picture_rows(voice: Any, sentences: int) -> None:
    from demo.picture import MAX_ROWS, ROW_SECONDS, reading_picture

    audio = voice.say("The birch canoe slid. " * sentences, seed=1)
    picture = reading_picture(audio)
    rows = min(MAX_ROWS, int(np.ceil(audio.duration / ROW_SECONDS)))
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert picture.shape[0] == pytest.approx(rows * 319, abs=3) and picture.shape[1] == 1430
    assert picture.std() > 10


def test_command_reaches_the_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import types

    from speechvae import cli

    seen: dict[str, Any] = {}
    stand_in = types.ModuleType("speechvae_demo.app")
    stand_in.launch = lambda **kwargs: seen.update(kwargs)  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "speechvae_demo", types.ModuleType("speechvae_demo"))
    monkeypatch.setitem(__import__("sys").modules, "speechvae_demo.app", stand_in)
    with pytest.raises(SystemExit) as done:
        cli.main(["demo", "--port", "8123", "--voice", "anna"])
    assert done.value.code == 0 and seen == {"host": "127.0.0.1", "port": 8123, "voice": "anna"}


def test_taken_port_is_a_clear_error(voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from demo.app import launch
    from speechvae import Voice

    monkeypatch.setattr(Voice, "load", lambda name: voice)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SpeechVAEError, match=f"port {port}.*--port 0"):
            launch(port=port, voice="test")
