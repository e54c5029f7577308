"""The tab "Words": sentences from a writer, said by the voice of the tab "Voice"; and a chat of spoken replies."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from speechvae import SpeechVAEError
from speechvae.batch import new_seed

from .common import ONE_AT_A_TIME, Sound, facts_of, in_plain_words, sound_of

if TYPE_CHECKING:
    from speechvae import Audio, Voice, Writer

REPLIES = 3
LINE = 44  # pixels: room for the mark of progress or of an error
MAX_SENTENCES = 10
MAX_CHARACTERS = 400  # of a typed sentence; the writer itself counts tokens, and refuses what is too long for it
INTRO = """*These are the words of a small model. It writes what is plausible; it knows nothing and checks nothing, and
what it says may be wrong or rude.* Sentences are said by the voice and with the settings of the tab **Voice**; each
time is a new reading."""
NO_WRITER = "**There is no writer to find words.** The tab Voice works without it."
ENDS = ("I like to read books about the sea.", "What did you do at the weekend?")
EMPTY_CHAT = "Type something below. Up to three different replies come back: listen, choose one, and go on."
YOUR_TURN, CHOOSE_FIRST = "Type something, then Enter", "Choose one of the replies first"


class VoiceControls(NamedTuple):
    """The components that say which voice speaks, and how; in the order of the arguments of `_say`."""

    voice: gr.Dropdown
    speaker: gr.Dropdown
    temperature: gr.Slider
    style_temperature: gr.Slider
    length_scale: gr.Slider


class Reply(NamedTuple):
    """A reply that may be chosen, and its reading."""

    text: str
    audio: Audio


Say = Callable[..., "Audio"]


def installed_writer() -> Writer:
    """The writer that comes with speechvae. Raises SpeechVAEError where there is none."""
    from speechvae import Writer

    return Writer.load()


def write(
    writer: Writer, number: float, like: str | None, temperature: float, seed: str | None
) -> tuple[list[str], int]:
    """`number` sentences, or variations of `like` unless it is blank, and the seed that brings them back."""
    used = _seed_of(seed)
    like = None if like is None or not like.strip() else like
    return [w.text for w in writer.write(int(number), like, temperature, used)], used


def _seed_of(typed: str | None) -> int:
    if typed is None or not typed.strip():
        return new_seed()
    if not typed.strip().isdecimal() or int(typed) >= 2**63:
        raise SpeechVAEError(f"A seed is a whole number from 0 on, not {typed.strip()[:30]!r}; or leave it empty.")
    return int(typed)


def between(writer: Writer, first: str, last: str, steps: float) -> list[str]:
    """The path of `steps` sentences from `first` to `last`; neighbours may be the same."""
    if not first.strip() or not last.strip():
        raise SpeechVAEError("A path has two ends: type both sentences.")
    return [w.text for w in writer.between(first, last, int(steps))]


def answer(writer: Writer, say: Callable[[str], Audio], turns: Sequence[str], seed: int) -> list[Reply]:
    """Up to `REPLIES` replies to the last of `turns`, each with a reading."""
    found = [w.text for w in writer.reply(turns, n=REPLIES, seed=seed)]
    if not found:
        raise SpeechVAEError("The writer found no reply to that. Say it in other words, or say something else.")
    return [Reply(text, say(text)) for text in found]


def choices_of(texts: Sequence[str]) -> list[tuple[str, str]]:
    """(label, text) for each different text: a label says at which places, counted from 1, the text stands."""
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts, 1):
        places.setdefault(text, []).append(place)
    return [(f"{', '.join(map(str, found))} · {text}", text) for text, found in places.items()]


def words_tab(
    voice_loader: Callable[[str], Voice], controls: VoiceControls, writer_loader: Callable[[], Writer]
) -> None:
    """Add the tab to the page. `writer_loader` is not called before somebody opens or uses the tab."""
    load = functools.cache(writer_loader)

    def say(
        text: str, voice: str, speaker: str | None, temperature: float, style_temperature: float, length_scale: float
    ) -> Audio:
        return voice_loader(voice).say(
            text,
            speaker=speaker,
            temperature=temperature,
            style_temperature=style_temperature,
            length_scale=length_scale,
        )

    with gr.Tab("Words") as tab:
        status = gr.Markdown(visible=False)
        with gr.Column() as content:
            gr.Markdown(INTRO)
            with gr.Tabs():
                with gr.Tab("Write"):
                    _write_section(load, say, controls)
                with gr.Tab("Between"):
                    _between_section(load, say, controls)
                with gr.Tab("Chat mode"):
                    _chat_section(load, say, controls)

    @in_plain_words
    def on_open() -> tuple[Any, Any]:
        try:
            load()
        except (SpeechVAEError, OSError) as e:
            return gr.Markdown(f"{NO_WRITER}\n\n{e}", visible=True), gr.Column(visible=False)
        return gr.Markdown("", visible=False), gr.Column(visible=True)

    tab.select(on_open, None, [status, content], api_name="writer", **ONE_AT_A_TIME)


def _write_section(load: Callable[[], Writer], say: Say, controls: VoiceControls) -> None:
    with gr.Row():
        with gr.Column(scale=3):
            like = gr.Textbox(
                label="Like this sentence", info="optional: variations of it are written", max_length=MAX_CHARACTERS
            )
            button = gr.Button("Write", variant="primary")
        with gr.Column(scale=2):
            with gr.Row():
                number = gr.Slider(1, MAX_SENTENCES, 5, step=1, label="Sentences")
                # A number field without a value would show, and send, 0.
                seed = gr.Textbox(label="Seed", placeholder="new each time", max_lines=1)
            temperature = gr.Slider(
                0, 1.5, 1.0, step=0.05, label="Temperature of the words",
                info="0: the most expected ones; more: further from them, or from the sentence above",
            )  # fmt: skip
    facts = gr.Markdown(min_height=LINE)
    written = _choose_and_speak(say, controls, "Written", "speak_written")

    @in_plain_words
    def on_write(number: float, like: str | None, temperature: float, seed: str | None) -> tuple[Any, str]:
        texts, used = write(load(), number, like, temperature, seed)
        if not texts:
            raise SpeechVAEError("Nothing was written that could be shown. Try a higher temperature, or another seed.")
        line = f"words from seed **{used}**"
        if len(texts) < number:
            line += f" · only {len(texts)} of {int(number)}: the others repeated these, or were no sentences"
        return gr.Radio(choices=choices_of(texts), value=texts[0]), line

    settings = [number, like, temperature, seed]
    gr.on(
        [button.click, like.submit], on_write, settings, [written, facts], api_name="write", show_progress_on=facts,
        **ONE_AT_A_TIME,
    )  # fmt: skip


def _between_section(load: Callable[[], Writer], say: Say, controls: VoiceControls) -> None:
    with gr.Row():
        first = gr.Textbox(ENDS[0], label="Sentence A", max_length=MAX_CHARACTERS)
        last = gr.Textbox(ENDS[1], label="Sentence B", max_length=MAX_CHARACTERS)
        steps = gr.Slider(2, MAX_SENTENCES, 5, step=1, label="Steps", info="both ends count")
    button = gr.Button("Find the way", variant="primary")
    path = _choose_and_speak(say, controls, "From A to B", "speak_between")

    @in_plain_words
    def on_between(first: str, last: str, steps: float) -> Any:
        texts = between(load(), first, last, steps)
        return gr.Radio(choices=choices_of(texts), value=texts[0])

    button.click(on_between, [first, last, steps], path, api_name="between", **ONE_AT_A_TIME)


def _choose_and_speak(say: Say, controls: VoiceControls, label: str, api_name: str) -> gr.Radio:
    """A list to choose a sentence from, and what says it. Returns the list, still empty."""
    choice = gr.Radio([], label=label, elem_classes="sentences")
    button = gr.Button("Speak")
    sound = gr.Audio(label="Reading", interactive=False, autoplay=True, format="wav", buttons=["download"])
    facts = gr.Markdown()

    @in_plain_words
    def on_say(
        text: str | None, voice: str, speaker: str | None,
        temperature: float, style_temperature: float, length_scale: float,
    ) -> tuple[Sound, str]:  # fmt: skip
        if not text:
            raise SpeechVAEError("There is nothing to say yet: choose a sentence of the list.")
        audio = say(text, voice, speaker, temperature, style_temperature, length_scale)
        return sound_of(audio), facts_of(audio)

    button.click(
        on_say, [choice, *controls], [sound, facts], api_name=api_name, show_progress_on=sound, **ONE_AT_A_TIME
    )
    return choice


def _chat_section(load: Callable[[], Writer], say: Say, controls: VoiceControls) -> None:
    # The turns are the visitor's and the chosen ones by turns, the visitor's first.
    turns, offered = gr.State([]), gr.State([])
    history = gr.Chatbot(
        label="Dialogue", height=320, placeholder=EMPTY_CHAT, buttons=[], render_markdown=False, allow_tags=False,
        feedback_options=None, group_consecutive_messages=False, elem_id="dialogue",
    )  # fmt: skip
    columns, texts, sounds, buttons = _reply_columns()
    note = gr.Markdown(min_height=LINE)
    typed = gr.Textbox(label="You", placeholder=YOUR_TURN, max_length=MAX_CHARACTERS, max_lines=3)
    with gr.Row():
        say_button = gr.Button("Say", variant="primary")
        others_button = gr.Button("Other replies", interactive=False)
        again_button = gr.Button("Start again")

    def ask(turns: list[str], *how: Any) -> list[Any]:
        seed = new_seed()
        return _scene(turns, answer(load(), lambda text: say(text, *how), turns, seed), f"words from seed **{seed}**")

    @in_plain_words
    def on_reply(
        turns: list[str], text: str, voice: str, speaker: str | None,
        temperature: float, style_temperature: float, length_scale: float,
    ) -> list[Any]:  # fmt: skip
        if len(turns) % 2:
            raise SpeechVAEError("Choose one of the replies first, or start again.")
        if not text.strip():
            raise SpeechVAEError("There is nothing to reply to: type something.")
        return ask([*turns, text.strip()], voice, speaker, temperature, style_temperature, length_scale)

    @in_plain_words
    def on_others(
        turns: list[str], voice: str, speaker: str | None,
        temperature: float, style_temperature: float, length_scale: float,
    ) -> list[Any]:  # fmt: skip
        if not len(turns) % 2:
            raise SpeechVAEError("There is nothing to reply to: type something.")
        return ask(turns, voice, speaker, temperature, style_temperature, length_scale)

    def chooser(n: int) -> Callable[..., Any]:
        def on_choose(turns: list[str], offered: list[str]) -> list[Any]:
            if n >= len(offered):
                raise SpeechVAEError(f"There is no reply {n + 1} to choose: type something first.")
            return _scene([*turns, offered[n]])

        return in_plain_words(on_choose)

    scene: list[Any] = [turns, offered, history, typed, note, say_button, others_button]
    for parts in zip(columns, texts, sounds, strict=True):
        scene += parts
    # On the dialogue, progress and errors would hide it.
    events: dict[str, Any] = {"outputs": scene, "show_progress_on": note, **ONE_AT_A_TIME}
    gr.on([say_button.click, typed.submit], on_reply, [turns, typed, *controls], api_name="reply", **events)
    others_button.click(on_others, [turns, *controls], api_name="other_replies", **events)
    for n, button in enumerate(buttons):
        button.click(chooser(n), [turns, offered], api_name=f"choose_{n + 1}", **events)
    # The dialogue has a dustbin of its own.
    gr.on([again_button.click, history.clear], lambda: _scene([]), None, api_name="start_again", **events)


def _reply_columns() -> tuple[list[gr.Column], list[gr.Textbox], list[gr.Audio], list[gr.Button]]:
    """Beside each other, hidden at first: the text of a reply, its player, and the button that chooses it."""
    columns, texts, sounds, buttons = [], [], [], []
    with gr.Row():
        for n in range(REPLIES):
            with gr.Column(visible=False, min_width=220, variant="panel") as column:
                texts.append(gr.Textbox(label=f"Reply {n + 1}", interactive=False, lines=2))
                sounds.append(
                    gr.Audio(label="Reading", interactive=False, autoplay=False, format="wav", buttons=["download"])
                )
                buttons.append(gr.Button("Choose this one", variant="primary"))
            columns.append(column)
    return columns, texts, sounds, buttons


def _scene(turns: Sequence[str], offered: Sequence[Reply] = (), note: str = "") -> list[Any]:
    """What the chat shows: the values of its outputs, for a dialogue and the replies that may be chosen."""
    if offered:
        note += " · readings from seeds " + ", ".join(f"**{r.audio.seed}**" for r in offered)
        if len(offered) < REPLIES:
            count = "only one reply" if len(offered) == 1 else f"only {len(offered)} replies"
            note = f"There is {count} this time: the others were odd, or repeated what was said. {note}"
    # The browser takes the messages for HTML.
    said = [html.escape(t, quote=False) for t in turns]
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
    typing = gr.Textbox(value="", interactive=not offered, placeholder=CHOOSE_FIRST if offered else YOUR_TURN)
    buttons = [gr.Button(interactive=not offered), gr.Button(interactive=bool(offered))]
    out: list[Any] = [list(turns), [r.text for r in offered], messages, typing, note, *buttons]
    for n in range(REPLIES):
        if n < len(offered):
            out += [gr.Column(visible=True), offered[n].text, sound_of(offered[n].audio)]
        else:
            out += [gr.Column(visible=False), "", None]
    return out
