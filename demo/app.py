"""One page: type a sentence, hear it, see it, ask for another reading; or let a writer find the words.

`build` takes the functions that load a voice and a writer, so a test or another program can hand in its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from speechvae import SpeechVAEError
from speechvae.batch import new_seed

from .common import ONE_AT_A_TIME, Sound, facts_of, in_plain_words, sound_of
from .picture import MAX_ROWS, ROW_SECONDS, reading_picture
from .words import VoiceControls, installed_writer, words_tab

if TYPE_CHECKING:
    from speechvae import Voice
    from speechvae.words.writer import Writer

MAX_CHARACTERS = 2000
SENTENCES = [
    "The birch canoe slid on the smooth planks.",
    "Did you really think that nobody would notice?",
    "It was, by any measure, the strangest morning of the year; and it had only just begun.",
    "On 3 May we paid $12.50 for two tickets, and the train left at 7:45.",
]
TITLE = """# speechvae
One sentence, many natural readings. *What you hear is synthetic speech, made by a model: nobody said it. Say so
wherever you publish it.*"""
INTRO = """**Speak** says the text with the seed you see; **Another reading** draws a new one. The same seed always
gives the same reading."""
CSS = "#picture img {object-fit: contain} .sentences .wrap {flex-direction: column} footer {display: none}"

Reading = tuple[Sound, np.ndarray, list[list[Any]], int, str]


def speak(
    voice: Voice,
    text: str,
    speaker: str | None,
    seed: float | None,
    temperature: float,
    style_temperature: float,
    length_scale: float,
) -> Reading:
    """Say `text`; returns (rate, int16 [T]), picture [H, W, 3], rows of words, the seed and a line of facts."""
    if not text.strip():
        raise SpeechVAEError("There is nothing to say yet: type a sentence.")
    if len(text) > MAX_CHARACTERS:
        raise SpeechVAEError(
            f"This page takes up to {MAX_CHARACTERS} characters, and this text has {len(text)}. "
            "Longer texts: speechvae say -f FILE"
        )
    audio = voice.say(
        text,
        seed=None if seed is None else int(seed),
        speaker=speaker,
        temperature=temperature,
        style_temperature=style_temperature,
        length_scale=length_scale,
    )
    if audio.duration > MAX_ROWS * ROW_SECONDS:
        gr.Warning(f"The picture shows the first {MAX_ROWS * ROW_SECONDS:.0f} seconds.")
    words = [[w.text, round(w.start, 2), round(w.end, 2)] for w in audio.words]
    return sound_of(audio), reading_picture(audio), words, audio.seed, facts_of(audio)


def build(
    voice_loader: Callable[[str], Voice],
    voices: Sequence[str] | None = None,
    voice: str | None = None,
    writer_loader: Callable[[], Writer] = installed_writer,
) -> gr.Blocks:
    """The page, not yet launched.

    Args:
        voice_loader: gives the voice of a name; each name is loaded once.
        voices: the names to choose from; None = every installed voice.
        voice: the one chosen at first; None = the first of `voices`.
        writer_loader: gives the writer; called once, when the words are first wanted. Where it raises SpeechVAEError,
            the page says so and speaks all the same.

    Raises:
        SpeechVAEError: there is no voice, or the first one cannot be loaded.
    """
    load = functools.cache(voice_loader)
    if voices is None:
        from speechvae import list_voices

        voices = [v.name for v in list_voices()]
    names = list(dict.fromkeys([*([] if voice is None else [voice]), *voices]))
    if not names:
        raise SpeechVAEError("no voice is installed: train one, and name its folder with --voice")
    load(names[0])  # an error here comes before there is a page

    with gr.Blocks(title="speechvae", analytics_enabled=False) as page:
        gr.Markdown(TITLE)
        with gr.Tabs():
            with gr.Tab("Voice"):
                controls = _voice_tab(load, names)
            words_tab(load, controls, writer_loader)
    return page


def _voice_tab(load: Callable[[str], Voice], names: Sequence[str]) -> VoiceControls:
    first = load(names[0])
    gr.Markdown(INTRO)
    with gr.Row():
        with gr.Column(scale=3):
            text = gr.Textbox(SENTENCES[0], label="Text", lines=4, max_length=MAX_CHARACTERS)
            with gr.Row():
                speak_button = gr.Button("Speak", variant="primary")
                another_button = gr.Button("Another reading")
            gr.Examples([[s] for s in SENTENCES], text, label="Sentences to try")
        with gr.Column(scale=2):
            with gr.Row():
                name = gr.Dropdown(list(names), value=names[0], label="Voice")
                speaker = gr.Dropdown(list(first.speakers), value=first.default_speaker, label="Speaker")
                seed = gr.Number(new_seed, label="Seed", precision=0, minimum=0)
            sliders = _sliders(first)
    sound = gr.Audio(label="Reading", interactive=False, autoplay=True, format="wav", buttons=["download"])
    facts = gr.Markdown()
    picture = gr.Image(
        show_label=False, interactive=False, elem_id="picture", format="png", buttons=["download", "fullscreen"],
        alt_text="Mel spectrogram with words and f0 over it and phonemes under it",
    )  # fmt: skip
    with gr.Accordion("Words and their times", open=False):
        words = gr.Dataframe(headers=["word", "from (s)", "to (s)"], interactive=False, type="array")

    # The argument names of these functions are those of the page's API.
    @in_plain_words
    def on_speak(
        voice: str, text: str, speaker: str | None, seed: float | None,
        temperature: float, style_temperature: float, length_scale: float,
    ) -> Reading:  # fmt: skip
        return speak(load(voice), text, speaker, seed, temperature, style_temperature, length_scale)

    @in_plain_words
    def on_another(
        voice: str, text: str, speaker: str | None,
        temperature: float, style_temperature: float, length_scale: float,
    ) -> Reading:  # fmt: skip
        return speak(load(voice), text, speaker, None, temperature, style_temperature, length_scale)

    @in_plain_words
    def on_voice(voice: str) -> Any:
        chosen = load(voice)
        return gr.Dropdown(choices=list(chosen.speakers), value=chosen.default_speaker)

    reading = [sound, picture, words, seed, facts]
    speak_button.click(on_speak, [name, text, speaker, seed, *sliders], reading, api_name="speak", **ONE_AT_A_TIME)
    another_button.click(on_another, [name, text, speaker, *sliders], reading, api_name="another", **ONE_AT_A_TIME)
    name.change(on_voice, name, speaker, api_name="speakers", **ONE_AT_A_TIME)
    return VoiceControls(name, speaker, *sliders)


def _sliders(voice: Voice) -> tuple[gr.Slider, gr.Slider, gr.Slider]:
    usual = voice.info()
    return (
        gr.Slider(0, 1.5, usual["temperature"], step=0.05, label="Temperature", info="variety of the single sounds"),
        gr.Slider(
            0, 1.5, usual["style_temperature"], step=0.05, label="Style temperature",
            info="variety of the manner of a whole text",
        ),
        gr.Slider(0.5, 2.0, 1.0, step=0.05, label="Length", info="above 1: slower"),
    )  # fmt: skip


def launch(host: str = "127.0.0.1", port: int = 7860, voice: str | None = None) -> None:
    """Serve the page until Ctrl-C. `port` 0 takes the first free one from 7860 on.

    Raises SpeechVAEError where the voice cannot be loaded or the port cannot be had.
    """
    from speechvae import Voice

    page = build(Voice.load, voice=voice, writer_loader=installed_writer)
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port if port else None,
            theme=gr.themes.Soft(),
            css=CSS,
            share=False,
            footer_links=[],
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as e:
        raise SpeechVAEError(
            f"cannot listen on {host}, port {port}: it is taken or not allowed; try another --port, or --port 0"
        ) from e
    print(f"The demo is at {url} (Ctrl-C stops it).", flush=True)
    page.block_thread()
