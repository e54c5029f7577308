"""The tab "Words" of the demo page, driven over HTTP as a browser would."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import soundfile

from speechvae import SpeechVAEError
from speechvae.words.writer import Writer, Written

pytest.importorskip("gradio")

A, B = "I like to read books about the sea.", "What did you do at the weekend?"
REPLIES = ["Yes, I did.", "It was a good game, but nobody knew why.", "The ship was late."]
HOW: dict[str, Any] = {
    "voice": "test", "speaker": "two", "temperature": 0.4, "style_temperature": 0.8, "length_scale": 1.2,
}  # fmt: skip
MANNER = {k: v for k, v in HOW.items() if k != "voice"}


@contextmanager
def served(page: Any) -> Iterator[str]:
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, share=False)
    try:
        yield url
    finally:
        page.close(verbose=False)


def new_client(url: str) -> Any:
    from gradio_client import Client

    return Client(url, verbose=False)


@pytest.fixture(scope="module")
def writer() -> Writer:
    return Writer.load("test")


@pytest.fixture(scope="module")
def loads() -> list[str]:
    """One entry for each time the page loaded the writer."""
    return []


@pytest.fixture(scope="module")
def url(voice: Any, writer: Writer, loads: list[str]) -> Iterator[str]:
    from demo.app import build

    def loader() -> Writer:
        loads.append("writer")
        return writer

    page = build(lambda name: voice, ["test"], writer_loader=loader)
    assert not loads, "the page must not wait for the writer"
    with served(page) as address:
        yield address


@pytest.fixture
def client(url: str) -> Any:
    """A visitor of his own, with a dialogue of his own."""
    return new_client(url)


@pytest.fixture
def heard(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The dialogues that the writer was asked to go on with; it replies `REPLIES`."""
    dialogues: list[list[str]] = []
    monkeypatch.setattr(writer, "reply", replying(REPLIES, dialogues))
    return dialogues


def replying(texts: Sequence[str], heard: list[list[str]]) -> Any:
    """In the place of `Writer.reply`: notes what was said, and always gives `texts`."""

    def reply(turns: Sequence[str], n: int, seed: int) -> list[Written]:
        heard.append(list(turns))
        return as_written(texts[:n])

    return reply


def as_written(texts: Sequence[str]) -> list[Written]:
    return [Written(t, (0.0,), 10.0, 5, 0.0) for t in texts]


def value(output: Any) -> Any:
    """What a component shows, whether or not its other properties were sent along."""
    return output["value"] if isinstance(output, dict) and output.get("__type__") == "update" else output


class Scene:
    """The outputs of the chat."""

    def __init__(self, outputs: Sequence[Any]) -> None:
        self.history, typed, self.note, *replies = outputs
        self.typing: bool = typed["interactive"]
        texts, sounds = [value(x) for x in replies[::2]], [value(x) for x in replies[1::2]]
        self.replies = [(t, s) for t, s in zip(texts, sounds, strict=True) if t or s]

    @property
    def turns(self) -> list[tuple[str, str]]:
        return [(m["role"], m["content"][0]["text"]) for m in self.history]

    @property
    def seeds(self) -> list[int]:
        return [int(s) for s in re.findall(r"\*\*(\d+)\*\*", self.note)][1:]


def say(client: Any, text: str) -> Scene:
    return Scene(client.predict(text=text, **HOW, api_name="/reply"))


def choose(client: Any, number: int) -> Scene:
    return Scene(client.predict(api_name=f"/choose_{number}"))


def choices(output: Any) -> list[tuple[str, str]]:
    return [(label, text) for label, text in output["choices"]]


def write(client: Any, **changes: Any) -> tuple[list[str], str]:
    settings: dict[str, Any] = {"number": 4, "like": "", "temperature": 1.0, "seed": "", **changes}
    written, facts = client.predict(api_name="/write", **settings)
    assert written["value"] == written["choices"][0][1]
    return [text for _, text in choices(written)], facts


def plain(caught: pytest.ExceptionInfo[BaseException]) -> bool:
    return "Traceback" not in str(caught.value) and "inside the program" not in str(caught.value)


# -- write and between -------------------------------------------------------------------------------------------


def test_write_gives_as_many_and_the_seed_brings_them_back(client: Any, writer: Writer) -> None:
    first, facts = write(client)
    seed = re.search(r"seed \*\*(\d+)\*\*", facts)
    assert len(set(first)) == 4 and seed is not None
    assert write(client, seed=seed[1])[0] == first == [w.text for w in writer.write(4, seed=int(seed[1]))]
    assert write(client)[0] != first
    assert len(write(client, number=7)[0]) == 7


def test_write_hands_every_setting_on(client: Any, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def record(n: int, like: str | None, temperature: float, seed: int) -> list[Written]:
        asked.append((n, like, temperature, seed))
        return as_written(REPLIES[:2])

    monkeypatch.setattr(writer, "write", record)
    texts, facts = write(client, number=3, like=A, temperature=0.25, seed="12")
    assert texts == REPLIES[:2] and "only 2 of 3" in facts
    write(client, like="  ", seed="0")
    assert asked == [(3, A, 0.25, 12), (4, None, 1.0, 0)]


def test_between_shows_the_path_and_speaks_it(client: Any, voice: Any, writer: Writer) -> None:
    from demo.words import choices_of

    found = choices(client.predict(first=A, last=B, steps=5, api_name="/between"))
    assert found == choices_of([w.text for w in writer.between(A, B, 5)])
    assert found[0][1] == A and found[-1][0].endswith(f"5 · {B}") and found[-1][1] == B
    readings = [client.predict(text=B, **HOW, api_name="/speak_between") for _ in range(2)]
    wavs = [soundfile.read(sound, dtype="float32")[0] for sound, _ in readings]
    assert len(wavs[0]) != len(wavs[1]) or not np.allclose(wavs[0], wavs[1], atol=1e-3)
    for wav, (_, facts) in zip(wavs, readings, strict=True):
        seed = re.search(r"seed \*\*(\d+)\*\*", facts)
        assert seed is not None
        np.testing.assert_allclose(wav, voice.say(B, seed=int(seed[1]), **MANNER).wav, atol=1 / 16000)


def test_a_written_sentence_is_spoken(client: Any, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "write", lambda *args: as_written(REPLIES))
    texts, _ = write(client)
    sound, _ = client.predict(text=texts[1], **HOW, api_name="/speak_written")
    assert np.any(soundfile.read(sound)[0])


def test_each_different_sentence_can_be_chosen_once() -> None:
    from demo.words import choices_of

    assert choices_of(["a", "b", "b", "a", "c"]) == [("1, 4 · a", "a"), ("2, 3 · b", "b"), ("5 · c", "c")]


# -- chat --------------------------------------------------------------------------------------------------------


def test_three_replies_three_sounds(client: Any, voice: Any, heard: list[list[str]]) -> None:
    scene = say(client, "  Did you see the game? ")
    assert heard == [["Did you see the game?"]]
    assert scene.turns == [("user", "Did you see the game?")] and not scene.typing
    assert [text for text, _ in scene.replies] == REPLIES
    assert len(set(scene.seeds)) == 3
    for (text, sound), seed in zip(scene.replies, scene.seeds, strict=True):
        wav = soundfile.read(sound, dtype="float32")[0]
        np.testing.assert_allclose(wav, voice.say(text, seed=seed, **MANNER).wav, atol=1 / 16000)


def test_a_chosen_reply_extends_the_dialogue(client: Any, heard: list[list[str]]) -> None:
    say(client, A)
    scene = choose(client, 2)
    assert scene.turns == [("user", A), ("assistant", REPLIES[1])] and scene.typing and not scene.replies
    scene = say(client, B)
    assert heard[-1] == [A, REPLIES[1], B]
    assert len(scene.replies) == 3
    assert choose(client, 3).turns[2:] == [("user", B), ("assistant", REPLIES[2])]
    scene = Scene(client.predict(api_name="/start_again"))
    assert not scene.turns and scene.typing
    say(client, B)
    assert heard[-1] == [B]


def test_other_replies_to_the_same(
    client: Any, writer: Writer, heard: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(client, A)
    monkeypatch.setattr(writer, "reply", replying(["No."], heard))
    scene = Scene(client.predict(**HOW, api_name="/other_replies"))
    assert heard == [[A], [A]] and scene.turns == [("user", A)]
    assert [text for text, _ in scene.replies] == ["No."]
    assert choose(client, 1).turns == [("user", A), ("assistant", "No.")]


def test_out_of_turn(client: Any, heard: list[list[str]]) -> None:
    with pytest.raises(Exception, match="no reply 1"):
        choose(client, 1)
    with pytest.raises(Exception, match="nothing to reply to"):
        client.predict(**HOW, api_name="/other_replies")
    say(client, A)
    with pytest.raises(Exception, match="Choose one of the replies first"):
        say(client, B)
    assert choose(client, 1).turns == [("user", A), ("assistant", REPLIES[0])]


def test_fewer_replies_are_shown_and_said(
    client: Any, writer: Writer, heard: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "reply", replying(REPLIES[:2], heard))
    scene = say(client, A)
    assert "only 2 replies" in scene.note
    assert [text for text, _ in scene.replies] == REPLIES[:2] and all(sound for _, sound in scene.replies)
    with pytest.raises(Exception, match="no reply 3"):
        choose(client, 3)
    assert len(choose(client, 2).turns) == 2


def test_no_reply_is_said_and_leaves_the_dialogue(
    client: Any, writer: Writer, heard: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(client, A)
    choose(client, 1)
    with monkeypatch.context() as none:
        none.setattr(writer, "reply", replying([], heard))
        with pytest.raises(Exception, match="no reply to that") as caught:
            say(client, "What was lost?")
        assert plain(caught)
    assert [text for _, text in say(client, B).turns] == [A, REPLIES[0], B]


def test_the_tiny_writer_replies(client: Any) -> None:
    scene = say(client, "Did you see the game last night?")
    assert 1 <= len(scene.replies) <= 3
    assert scene.turns[-1] == ("user", "Did you see the game last night?")
    assert choose(client, 1).turns[1][0] == "assistant"


def test_what_is_said_is_text_and_not_html(client: Any, heard: list[list[str]]) -> None:
    said = "Is <b>3 < 4</b> & so on?"
    assert say(client, said).turns == [("user", "Is &lt;b&gt;3 &lt; 4&lt;/b&gt; &amp; so on?")]
    assert heard == [[said]]


def test_every_visitor_has_a_dialogue_of_his_own(client: Any, url: str, heard: list[list[str]]) -> None:
    other = new_client(url)
    say(client, A)
    assert say(other, B).turns == [("user", B)]
    assert len(choose(client, 1).turns) == 2


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api_name", "arguments", "message"),
    [
        ("/write", {"number": 3, "like": "", "temperature": 1.0, "seed": "-1"}, "whole number"),
        ("/write", {"number": 3, "like": "...", "temperature": 1.0, "seed": ""}, "cannot be read as a sentence"),
        ("/write", {"number": 3, "like": "the ship " * 40, "temperature": 1.0, "seed": ""}, "shorten it"),
        ("/between", {"first": A, "last": " ", "steps": 3}, "type both sentences"),
        ("/speak_written", {"text": None, **HOW}, "choose a sentence"),
        ("/reply", {"text": "  ", **HOW}, "type something"),
        ("/reply", {"text": "?!", **HOW}, "cannot be read as a sentence"),
        ("/reply", {"text": A, **HOW, "speaker": "nobody"}, "nobody"),
    ],
)
def test_errors_in_plain_words(client: Any, api_name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        client.predict(api_name=api_name, **arguments)
    assert plain(caught)


def test_the_writer_is_loaded_once(client: Any, loads: list[str]) -> None:
    client.predict(api_name="/writer")
    write(client)
    assert loads == ["writer"]


def test_without_a_writer_the_voice_speaks(voice: Any) -> None:
    from demo.app import build

    def missing() -> Writer:
        raise SpeechVAEError("no writer 'topical' is installed")

    with served(build(lambda name: voice, ["test"], writer_loader=missing)) as url:
        client = new_client(url)
        status = client.predict(api_name="/writer")
        assert status["visible"] and "no writer 'topical' is installed" in status["value"]
        with pytest.raises(Exception, match="no writer 'topical' is installed") as caught:
            write(client)
        assert plain(caught)
        sound = client.predict(text=A, seed=5, **HOW, api_name="/speak")[0]
        expected = voice.say(A, seed=5, **MANNER)
        np.testing.assert_allclose(soundfile.read(sound, dtype="float32")[0], expected.wav, atol=1 / 16000)


def test_with_a_writer_the_tab_has_no_notice(client: Any) -> None:
    status = client.predict(api_name="/writer")
    assert not status["visible"] and not status["value"]
