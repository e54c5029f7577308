"""Texts, tokens, decoding, and the writer: what comes in damaged, and what is handed out."""

from __future__ import annotations

import gzip
import itertools
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from speechvae.config import TextVAEConfig
from speechvae.errors import SpeechVAEError
from speechvae.models.text_vae import BOS, EOS, SPECIAL, TURN, TextVAE
from speechvae.words import writer as writer_module
from speechvae.words import writer_files
from speechvae.words.corpus import TextBatches, TextTable, prepare_texts
from speechvae.words.decoding import NEVER, beam_search, sample
from speechvae.words.paths import REPEAT, best_path, lean
from speechvae.words.texts import LONGEST, Dialogue, TextReport, clean, fault, read_lines, read_texts
from speechvae.words.tokens import Tokenizer, context_of, sentence
from speechvae.words.writer import ODDEST_REPLY, Writer, block_words, fit_usual
from speechvae.words.writer_files import Usual, load_writer, save_writer, tiny_writer

CFG = TextVAEConfig.model_validate({
    "vocab": 320, "hidden": 8, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "z_dim": 2, "components": 2,
    "dropout": 0.0, "sentence_tokens": 40, "context_turns": 2, "context_tokens": 40, "train": {"batch_size": 4},
})  # fmt: skip


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def read(path: Path) -> tuple[list[Dialogue], TextReport]:
    report = TextReport()
    return list(read_texts(path, report)), report


def single_turns(path: Path) -> tuple[list[str], list[tuple[int, str]]]:
    """The sentences of a file, and the numbers and reasons of its refused lines."""
    found, report = read(path)
    assert all(where == str(path) for where, _, _ in report.refused)
    assert report.dialogues == len(found) and report.turns == sum(len(d.turns) for d in found)
    return [t for d in found for t in d.turns], [(n, why) for _, n, why in report.refused]


# -- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \r\n\t\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (bytes(range(256)), r"not UTF-8 text \(byte 128\): is it a binary file"),
        ("Grün ist schön.\n".encode("latin-1"), r"not UTF-8 text \(byte 2\)"),
        ("Good morning.\n".encode("utf-16"), "not UTF-8 text"),
        ("Good morning.\n".encode("utf-16-le"), "holds zero bytes"),
        (b"Good\0morning\n", "holds zero bytes"),
        (gzip.compress(b"Good morning.\n" * 99)[:-12], "cannot be read"),
        (b"\x1f\x8b and then no gzip", "cannot be read"),
        (gzip.compress(b"\xff\xfe\xfd"), "not UTF-8 text"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "a.txt", data)
    with pytest.raises(SpeechVAEError, match=message) as e:
        read(path)
    assert str(path) in str(e.value)
    with pytest.raises(SpeechVAEError, match=message):
        prepare_texts([path], tmp_path / "work", CFG)
    assert not (tmp_path / "work").exists()


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(SpeechVAEError, match="no text file at"):
            read_lines(path)


def test_line_endings_marks_and_compression(tmp_path: Path) -> None:
    text = "One.\r\nTwo.\n\nThree  and\ta half. \rFour."
    expected = ["One.", "Two.", "Three and a half.", "Four."]
    assert single_turns(write(tmp_path / "a.txt", text)) == (expected, [])
    assert single_turns(write(tmp_path / "b.txt", "\ufeff" + text)) == (expected, [])
    assert single_turns(write(tmp_path / "c.txt.gz", gzip.compress(text.encode()))) == (expected, [])
    assert single_turns(write(tmp_path / "gzipped_without_a_name", gzip.compress(text.encode()))) == (expected, [])


def test_lines_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    lines = ["Good.", "b\x07ell", "...", "x" * 100_000, "", "esc\x1b[0m", "y" * LONGEST, "Also good."]
    found, refused = single_turns(write(tmp_path / "a.txt", "\n".join(lines)))
    assert found == ["Good.", "y" * LONGEST, "Also good."]
    assert [n for n, _ in refused] == [2, 3, 4, 6]
    control, long = "holds control characters: is it text?", "100000 characters; a sentence has at most 2000"
    assert [why for _, why in refused] == [control, "no letters or digits", f"{long}: put one on a line", control]


def test_lines_are_numbered_as_editors_number_them(tmp_path: Path) -> None:
    # Form feeds, and what Unicode calls a line or a paragraph separator, stand inside lines.
    found, refused = single_turns(write(tmp_path / "a.txt", "one\x0cone\none\x85one\u2028one\u2029one\n...\n"))
    assert found == ["one one", "one one one one"] and refused == [(3, "no letters or digits")]


def test_dialogues_and_their_broken_lines(tmp_path: Path) -> None:
    lines = [
        '{"id": "a", "turns": ["Hello  there.", "Hi!"]}',
        '{"id": "b", "turns": ["Hello", ',
        "",
        '["Hello", "Hi"]',
        '{"turns": []}',
        '{"turns": "Hello"}',
        '{"turns": ["Hello", 3]}',
        '{"id": "c", "turns": ["Hello", " "]}',
        '{"turns": ["Bye\\ud83d", "Bye"]}',
        "[" * 100_000,
        "9" * 10_000,
        '{"turns": ["A line\u2028in two", "Yes"]}',
        '{"id": null, "turns": ["Bye"]}',
        '{"id": 7, "turns": ["Bye"], "more": true}',
    ]
    plain, packed = "\n".join(lines).encode(), gzip.compress("\r\n".join(lines).encode())
    for name, data in (("a.jsonl", plain), ("a.jsonl.gz", packed)):
        found, report = read(write(tmp_path / name, data))
        assert [(d.id, d.turns) for d in found] == [
            ("a", ("Hello there.", "Hi!")), (f"{name}:12", ("A line in two", "Yes")), (f"{name}:13", ("Bye",)),
            ("7", ("Bye",)),
        ]  # fmt: skip
        assert [n for _, n, _ in report.refused] == [2, 4, 5, 6, 7, 8, 9, 10, 11]
        reasons = [why for _, _, why in report.refused]
        assert reasons[0].startswith("not JSON") and set(reasons[1:5]) == {'wanted is {"turns": ["...", "..."]}'}
        assert reasons[5] == "turn 2: no letters or digits"
        assert reasons[6] == "turn 1: holds half of a character (a lone surrogate)"
        assert all(r.startswith("not JSON") for r in reasons[7:])
        assert (report.dialogues, report.turns) == (4, 6)


def test_the_report_names_ten_lines_and_counts_the_others() -> None:
    report = TextReport(2, 3, [("a.txt", n, "no letters or digits") for n in range(1, 14)])
    lines = report.table().splitlines()
    assert lines[0] == "2 dialogues or single sentences, 3 turns" and len(lines) == 12
    assert lines[1] == "left out: a.txt, line 1: no letters or digits" and lines[-1] == "left out: 3 lines more"


def test_splits_hold_dialogues_and_equal_sentences_together(tmp_path: Path) -> None:
    text = "".join(f"Sentence number {n}.\n" for n in range(400))
    found, _ = read(write(tmp_path / "a.txt", text + text.replace("number ", "number   ")))
    by_text: dict[str, set[str]] = {}
    for d in found:
        by_text.setdefault(d.turns[0], set()).add(d.split)
    assert len(by_text) == 400 and all(len(s) == 1 for s in by_text.values())
    shares = {s: sum(v == {s} for v in by_text.values()) / 400 for s in ("train", "dev", "test")}
    assert 0.02 < shares["dev"] < 0.09 and 0.02 < shares["test"] < 0.09 and sum(shares.values()) == 1
    assert Dialogue("\ud83d", ("Hello",)).split in shares


@given(st.text())
def test_clean_texts_stay_as_they_are(text: str) -> None:
    once = clean(text)
    assert clean(once) == once and unicodedata.is_normalized("NFC", once)
    if once.isalnum():
        assert not fault(once) or len(once) > LONGEST


# -- tokens ----------------------------------------------------------------------------------------------------------

LINES = ["Did you see the game?", "Yes, I saw the game.", "Где ты был вчера вечером?", "Я был дома 🏡."] * 3
# Characters that one of the two libraries may know and the other not are left out.
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cn")))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(LINES, 340)


@given(TEXT)
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text).strip()
    assert tokenizer.decode([BOS, *ids, EOS, 0, 0]) == tokenizer.decode(ids)


@given(st.lists(st.one_of(st.sampled_from([*SPECIAL, *(s.upper() for s in SPECIAL), " ", "a"]), TEXT), max_size=6))
def test_no_text_has_the_ids_of_marks(tokenizer: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    (ids,) = tokenizer.encode_all([text])
    assert ids == tokenizer.encode(text) and all(len(SPECIAL) <= i < tokenizer.size for i in ids)


def test_marks_in_the_training_texts_and_in_a_loaded_tokenizer(tmp_path: Path) -> None:
    made = Tokenizer.train(["He typed <s> and </s> and <turn><pad>."] * 9, 320)
    made.save(tmp_path / "t.json")
    loaded = Tokenizer.load(tmp_path / "t.json")
    text = "typed <s> </s><turn> <pad>"
    assert made.encode(text) == loaded.encode(text) == loaded.encode_all([text])[0]
    assert min(loaded.encode(text)) >= len(SPECIAL) and loaded.decode(loaded.encode(text)) == text
    assert [loaded.inner.token_to_id(s) for s in SPECIAL] == list(range(len(SPECIAL)))


def test_tokens_are_learnt(tokenizer: Tokenizer) -> None:
    assert 261 < tokenizer.size <= 340
    assert len(tokenizer.encode("the game")) < len("the game") / 2
    assert len(tokenizer.encode("ŷ")) == 3  # never seen: its bytes, after a space


@pytest.mark.parametrize("data", ["", "{}", "[]", '{"model": {"type": "BPE"}}', "\0\0", None])
def test_damaged_tokenizers(tokenizer: Tokenizer, tmp_path: Path, data: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[: len(whole) // 2] if data is None else data)
    with pytest.raises(SpeechVAEError, match="tokenizer.json is damaged or not a tokenizer"):
        Tokenizer.load(path)


def test_context_keeps_the_end() -> None:
    assert sentence([7, 8]) == [BOS, 7, 8, EOS]
    turns = [[10, 11], [12], [13, 14, 15]]
    assert context_of(turns, 99) == [TURN, 10, 11, TURN, 12, TURN, 13, 14, 15]
    assert context_of(turns, 5) == [12, TURN, 13, 14, 15] and context_of([], 5) == []


# -- corpus ----------------------------------------------------------------------------------------------------------


def dialogue_lines(count: int = 60) -> str:
    rows = [
        {"id": f"d{n}", "turns": [f"Is number {n} big?", f"Number {n} is not.", "I see.", "So do I, ñ."][: 1 + n % 4]}
        for n in range(count)
    ]
    return "\n".join(json.dumps(r) for r in rows)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TextTable:
    folder = tmp_path_factory.mktemp("texts")
    one = write(folder / "dialogues.jsonl", dialogue_lines())
    two = write(folder / "lines.txt", "A line.\n...\nA line of another kind.\n")
    report = prepare_texts([one, two], folder / "w", CFG)
    assert (report.dialogues, report.turns, len(report.refused)) == (62, 152, 1)
    return TextTable.load(folder / "w")


def test_the_table_holds_every_turn_in_its_split(table: TextTable) -> None:
    expected = [json.loads(line) for line in dialogue_lines().splitlines()]
    expected += [{"id": t, "turns": [t]} for t in ("A line.", "A line of another kind.")]
    turns = [(t, Dialogue(d["id"], ()).split) for d in expected for t in d["turns"]]
    assert [table.text(r) for r in range(len(turns))] == [t for t, _ in turns]
    rows = {s: table.rows(s, CFG) for s in ("train", "dev", "test")}
    assert sorted(r for own in rows.values() for r in own) == list(range(len(turns)))
    assert all(turns[r][1] == s for s, own in rows.items() for r in own) and all(rows.values())


def test_contexts(table: TextTable) -> None:
    first = next(r for r in range(152) if table.text(r) == "Is number 3 big?")
    encode = table.tokenizer.encode
    said = ["Is number 3 big?", "Number 3 is not.", "I see."]
    for back in range(4):
        before = [encode(t) for t in said[max(0, back - CFG.context_turns) : back]]
        assert table.context(first + back, CFG) == context_of(before, CFG.context_tokens)
    short = CFG.model_copy(update={"context_tokens": 5})
    assert table.context(first + 2, short) == encode("Number 3 is not.")[-5:]
    with_context = {r for s in ("train", "dev", "test") for r in table.rows(s, CFG, with_context=True)}
    assert with_context == {r for r in range(152) if table.context(r, CFG)} and first not in with_context


def test_sentences_that_are_too_long_are_left_out(table: TextTable) -> None:
    most = max(len(table.ids(r)) for r in table.rows("train", CFG))
    some = table.rows("train", CFG.model_copy(update={"sentence_tokens": most - 1}))
    assert 0 < len(some) < len(table.rows("train", CFG))
    assert all(len(table.ids(r)) < most for r in some)
    with pytest.raises(SpeechVAEError, match="no sentence of the train split has at most 0 tokens"):
        TextBatches(table, "train", CFG.model_copy(update={"sentence_tokens": 0}))


def test_characters_leave_out_what_is_rare(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "".join(f"Aa {n:03} ñ.\n" for n in range(200)) + "Once Ω.\n")
    prepare_texts([path], tmp_path / "w", CFG)
    found = TextTable.load(tmp_path / "w").characters
    assert set("Aañ. 0123456789") == set(found) and list(found) == sorted(found)


def test_held_out_texts_teach_nothing(tmp_path: Path) -> None:
    lines = [f"A xylograph {n}." for n in range(300) if Dialogue(f"A xylograph {n}.", ()).split != "train"]
    assert len(lines) > 15
    path = write(tmp_path / "a.txt", "\n".join([*lines, *(f"A woodcut {n}." for n in range(300))]))
    prepare_texts([path], tmp_path / "w", CFG)
    table = TextTable.load(tmp_path / "w")
    assert len(table.tokenizer.encode("woodcut")) == 1 and len(table.tokenizer.encode("xylograph")) > 5
    assert "w" in table.characters and "x" not in table.characters


def test_batches_are_padded_sentences(table: TextTable) -> None:
    rows = [table.rows("train", CFG, with_context=True)[i] for i in (0, 5, 9)]
    batch = table.batch(rows, CFG, with_context=True)
    assert batch.x is not None and batch.context is not None and batch.x_lengths is not None
    columns = (batch.x.tolist(), batch.x_lengths.tolist(), batch.context.tolist())
    for row, x, n, context in zip(rows, *columns, strict=True):
        assert x[:n] == sentence(table.ids(row)) and not any(x[n:])
        before = table.context(row, CFG)
        assert context[: len(before)] == before and not any(context[len(before) :])
    assert table.batch(rows, CFG, with_context=False).context is None


def test_preparing_twice_gives_the_same_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", dialogue_lines())
    for name in ("one", "two"):
        prepare_texts([path], tmp_path / name, CFG)
    for name in ("tokenizer.json", "texts.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_too_little_text(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="1 sentences in .*one.txt: at least 20 are needed"):
        prepare_texts([write(tmp_path / "one.txt", "A single line.")], tmp_path / "w", CFG)
    with pytest.raises(SpeechVAEError, match="(?s)0 sentences.*left out: .*bad.txt, line 2: no letters or digits"):
        prepare_texts([write(tmp_path / "bad.txt", "!\n" * 30)], tmp_path / "w", CFG)
    equal = write(tmp_path / "equal.txt", "The same line.\n" * 30)  # all of it in one split
    with pytest.raises(SpeechVAEError, match="none of the 30 .* falls into the train split"):
        prepare_texts([equal], tmp_path / "w", CFG)
    assert not (tmp_path / "w").exists()
    with pytest.raises(SpeechVAEError, match="run `speechvae prepare-text"):
        TextTable.load(tmp_path / "w")


def test_a_single_answer_is_not_trained_on(tmp_path: Path) -> None:
    lines = [json.dumps({"turns": [f"Sentence {n} stands alone."]}) for n in range(80)]
    lines.append(json.dumps({"id": "in train", "turns": ["How are you?", "Fine."]}))
    prepare_texts([write(tmp_path / "a.jsonl", "\n".join(lines))], tmp_path / "w", CFG)
    table = TextTable.load(tmp_path / "w")
    assert len(table.rows("train", CFG, with_context=True)) == 1
    batches = TextBatches(table, "train", CFG)
    assert all(batches[i].context is None for i in range(2 * len(batches)))


# -- decoding --------------------------------------------------------------------------------------------------------


def small_model(vocab: int = 8, seed: int = 0) -> TextVAE:
    """Three words and the marks; the words depend on the latent, and on each other."""
    torch.manual_seed(seed)
    model = TextVAE(CFG, vocab).eval().requires_grad_(False)
    model.embed.weight *= 2
    for block in model.decoder:
        for p in block.parameters():
            p.mul_(5)
    for layer in model.inject:
        assert isinstance(layer, torch.nn.Linear)
        layer.weight *= 30
    return model


def log_p(model: TextVAE, ids: Sequence[int], z: Tensor, c: Tensor, ended: bool) -> float:
    """Of a sentence, marks ruled out, by one pass."""
    x = torch.tensor([[BOS, *ids]])
    scores = model.logits(model.states(x, z, c))[0]
    scores[:, NEVER] = -torch.inf
    scores[0, EOS] = -torch.inf
    steps = scores.log_softmax(-1)
    wanted = [*ids, EOS] if ended else list(ids)
    return float(sum(steps[n, i] for n, i in enumerate(wanted)))


def test_temperature_zero_takes_the_likeliest() -> None:
    model = small_model(40)
    z = torch.randn(6, 2) * 2
    c = model.encode_context(None, 6)
    rows = sample(model, z, c, temperature=0.0, longest=7)
    assert rows == sample(model, z, c, temperature=0.0, longest=7) and len({tuple(r) for r in rows}) > 1
    for i, row in enumerate(rows):
        for n, token in enumerate(row):
            scores = model.logits(model.states(torch.tensor([[BOS, *row[:n]]]), z[i : i + 1], c[:1]))[0, -1]
            scores[NEVER + [EOS] * (n == 0)] = -torch.inf
            assert int(scores.argmax()) == token
        # Alone and among others it is the same sentence.
        assert sample(model, z[i : i + 1], c[:1], temperature=0.0, longest=7) == [row]


def test_the_same_seed_draws_the_same_tokens() -> None:
    model = small_model(40)
    z, c = torch.zeros(8, 2), model.encode_context(None, 8)
    draws = [sample(model, z, c, generator=torch.Generator().manual_seed(s), longest=9) for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_sentences_are_bounded_and_hold_no_marks() -> None:
    model = small_model(12)
    z, c = torch.randn(200, 2), model.encode_context(None, 200)
    rows = sample(model, z, c, temperature=2.0, longest=6)
    assert {len(r) for r in rows} >= {1, 2, 6} and max(map(len, rows)) == 6
    assert all(len(SPECIAL) <= i < 12 for r in rows for i in r)
    assert max(map(len, sample(model, z, c, temperature=2.0))) <= CFG.sentence_tokens
    assert sample(model, z[:3], c[:3], longest=0) == [[], [], []]
    # A word is all there is room for: one that ends at once, too, has it.
    assert {len(r) for r in sample(model, z, c, longest=1)} == {1}


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.5, 0.7), (1.0, 1e-9)])
def test_first_words_are_drawn_with_their_probabilities(temperature: float, top_p: float) -> None:
    model, n = small_model(), 6000
    z, c = torch.tensor([[0.3, -0.5]]), model.encode_context(None, 1)
    scores = model.logits(model.states(torch.tensor([[BOS]]), z, c))[0, -1, len(SPECIAL) :]
    p = (scores / temperature).softmax(-1)
    order = p.argsort(descending=True)
    kept = next(k for k in range(1, 4) if k == 3 or float(p[order[:k]].sum()) >= top_p)
    p[order[kept:]] = 0.0
    assert p.max() < 0.97 * p.sum() or kept == 1  # or there is nothing to see
    rows = sample(model, z.expand(n, -1), c.expand(n, -1), temperature, top_p, longest=1)
    counts = np.bincount([r[0] - len(SPECIAL) for r in rows], minlength=3) / n
    np.testing.assert_allclose(counts, (p / p.sum()).numpy(), atol=0.03)
    assert ((p > 0).numpy() | (counts == 0)).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_wide_beams_find_the_best_of_all(seed: int) -> None:
    model, longest = small_model(seed=seed), 4
    z, c = torch.randn(1, 2), model.encode_context(None, 1)
    every: list[tuple[float, list[int]]] = []
    for n in range(1, longest + 1):
        for ids in itertools.product(range(5, 8), repeat=n):
            ended = n < longest
            every.append((log_p(model, ids, z, c, ended) / (n + ended), list(ids)))
    expected = [ids for _, ids in sorted(every, key=lambda e: -e[0])]
    assert beam_search(model, z, c, beams=60, longest=longest) == expected[:60]
    # More beams than there are sentences: all of them, and none with a mark in it.
    found = beam_search(model, z, c, beams=500, longest=longest)
    assert found == expected


def test_a_few_beams() -> None:
    model = small_model(40)
    z, c = torch.randn(1, 2), model.encode_context(None, 1)
    found = beam_search(model, z, c, beams=5, longest=6)
    scores = [log_p(model, ids, z, c, len(ids) < 6) / (len(ids) + (len(ids) < 6)) for ids in found]
    assert len({tuple(f) for f in found}) == 5 and scores == sorted(scores, reverse=True)
    (greedy,) = sample(model, z, c, temperature=0.0, longest=6)
    assert scores[0] >= log_p(model, greedy, z, c, len(greedy) < 6) / (len(greedy) + (len(greedy) < 6)) - 1e-5
    assert all(len(SPECIAL) <= i < 40 for f in found for i in f) and max(map(len, found)) <= 6


# -- the writer ------------------------------------------------------------------------------------------------------

SEA, GAME = "I like to read about the sea.", "Did you see the game?"


@pytest.fixture(scope="module")
def writer() -> Writer:
    return Writer.load("test")


class Script:
    """Stands in for `sample`: hands out the same texts in turn, whatever the latents."""

    def __init__(self, writer: Writer, texts: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.ids, self.calls = [writer.tokenizer.encode(t) for t in texts], 0
        monkeypatch.setattr(writer_module, "sample", self)

    def __call__(self, model: TextVAE, z: Tensor, *rest: object) -> list[list[int]]:
        self.calls += 1
        return [self.ids[i % len(self.ids)] for i in range(len(z))]


def test_the_same_seed_writes_the_same(writer: Writer) -> None:
    before = torch.random.get_rng_state()
    one = writer.write(4, seed=3)
    assert one == writer.write(4, seed=3) == Writer.load("test").write(4, seed=3)
    assert [w.text for w in one] != [w.text for w in writer.write(4, seed=4)]
    assert [w.text for w in writer.write(3)] != [w.text for w in writer.write(3)]
    assert torch.equal(before, torch.random.get_rng_state())  # whoever calls has his own
    assert len({w.text for w in one}) == 4
    for w in one:
        assert len(w.z) == 4 and w.nats > 0 and w.tokens == len(writer.tokenizer.encode(w.text))
        assert w.oddity == writer.settings.usual.oddity(w.nats, w.tokens)


def test_variations(writer: Writer) -> None:
    found = writer.write(4, like=SEA, seed=1)
    assert found == writer.write(4, like=f"  {SEA} ", seed=1) != writer.write(4, like=GAME, seed=1)
    assert SEA not in [w.text for w in found]
    (centre,) = writer.embed([SEA])
    still = writer.write(4, like=SEA, temperature=0.0, seed=1)
    assert len(still) == 4 and all(torch.equal(torch.tensor(w.z), centre) for w in still)
    # Without noise in the words, too, there is one sentence at most.
    assert len(writer.write(4, like=SEA, temperature=0.0, word_temperature=0.0, seed=1)) <= 1
    near = writer.write(4, like=SEA, temperature=0.01, seed=1)
    gaps = [(torch.tensor([w.z for w in ws]) - centre).norm(dim=1).mean() for ws in (near, found)]
    assert gaps[0] < 0.1 * gaps[1]


def test_what_is_written_is_allowed_and_new(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(writer, ["The sea.", "...", "The game.", "The sea.", "A book.", ""], monkeypatch)
    monkeypatch.setattr(writer, "blocked", block_words(["game"]))
    assert {w.text for w in writer.write(3, seed=1)} == {"The sea.", "A book."}
    assert script.calls == writer_module.ROUNDS
    assert [w.text for w in writer.write(3, like="A book.", seed=1)] == ["The sea."]
    monkeypatch.setattr(writer, "blocked", lambda text: True)
    assert writer.write(3, seed=1) == []


@pytest.mark.parametrize("steps", [2, 3, 7])
def test_between_two_sentences(writer: Writer, steps: int) -> None:
    found = writer.between(f" {SEA}", GAME, steps)
    assert len(found) == steps and found == writer.between(SEA, GAME, steps)
    assert (found[0].text, found[-1].text) == (SEA, GAME)
    ends = writer.embed([SEA, GAME])
    for i, w in enumerate(found):
        if i in (0, steps - 1) or w != found[i - 1]:
            share = i / (steps - 1)
            torch.testing.assert_close(torch.tensor(w.z), ends[0] * (1 - share) + ends[1] * share)
    assert len(writer.between(SEA, SEA, steps)) == steps


def test_paths_do_not_lead_back(writer: Writer) -> None:
    found = writer.between(SEA, GAME, 9)
    ends = writer.embed([SEA, GAME])
    texts = [w.text for w in found]
    assert (lean(writer._latents(texts), ends).diff() <= 1e-5).all() and len(set(texts)) >= 3


def chains(gaps: torch.Tensor, leans: torch.Tensor) -> dict[tuple[int, ...], float]:
    """What every chain costs that goes one way by all judges, by trying them all."""
    steps, k = gaps.shape
    found = {}
    for chain in itertools.product(range(k), repeat=steps):
        whole = [0, *chain, k - 1]
        if all((leans[:, b] <= leans[:, a] + 1e-6).all() for a, b in itertools.pairwise(whole)):
            repeats = sum(a == b for a, b in itertools.pairwise(whole))
            found[chain] = float(gaps[range(steps), chain].sum()) + REPEAT * repeats
    return found


@pytest.mark.parametrize("seed", range(8))
def test_the_best_path_is_the_cheapest_that_goes_one_way(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    gaps, leans = torch.rand(3, 7, generator=g), torch.rand(2, 7, generator=g) * 1.2 - 0.6
    leans[:, 0], leans[:, -1] = 0.5, -0.5
    costs = chains(gaps, leans)
    assert costs[tuple(best_path(gaps, leans))] == pytest.approx(min(costs.values()), abs=1e-5)


def test_variations_come_nearest_first(writer: Writer) -> None:
    found = writer.write(5, like=SEA, seed=1)
    places = writer._latents([SEA, *(w.text for w in found)])
    gaps = (places[1:] - places[0]).norm(dim=1)
    assert len(found) == 5 and (gaps.diff() >= -1e-6).all()


def test_nothing_blocked_stands_between(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = [w.text for w in writer.between(SEA, GAME, 6)]
    word = next(t for t in usual[1:-1] if t not in (SEA, GAME))
    monkeypatch.setattr(writer, "blocked", lambda text: text == word)
    assert word not in [w.text for w in writer.between(SEA, GAME, 6)]
    monkeypatch.setattr(writer, "blocked", lambda text: True)
    assert [w.text for w in writer.between(SEA, GAME, 6)] == [SEA] * 3 + [GAME] * 3


def test_replies(writer: Writer) -> None:
    one = writer.reply(GAME, 2, seed=5)
    assert one == writer.reply([GAME], 2, seed=5) != writer.reply(GAME, 2, seed=6)
    assert len(one) == 2 and one != writer.reply(SEA, 2, seed=5)
    assert [w.oddity for w in one] == sorted(w.oddity for w in one) and one[-1].oddity <= ODDEST_REPLY
    # Of a long dialogue the last turns are heard.
    turns = writer.model.cfg.context_turns
    assert writer.reply(["What did you do?", *[GAME] * turns], 2, seed=5) == writer.reply([GAME] * turns, 2, seed=5)


def test_replies_drop_repetitions_blocked_and_odd_ones(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["did you SEE the game?", "Yes, I did.", "The ship was late.", "It was cold.", "What book?", "..."]
    costs = {"Yes, I did.": 1.0, "It was cold.": 0.5, "What book?": 1e6, "The ship was late.": 0.0}
    Script(writer, texts, monkeypatch)
    usual = Usual(a=0, b=1e-9, c=1, d=0)
    monkeypatch.setattr(writer, "settings", writer.settings.model_copy(update={"usual_reply": usual}))
    decode = writer.tokenizer.decode
    monkeypatch.setattr(writer, "_bound", lambda ids, context: [costs.get(decode(i), 0.2) for i in ids])
    monkeypatch.setattr(writer, "blocked", block_words(["ship"]))
    assert [w.text for w in writer.reply(GAME, 3, seed=1)] == ["It was cold.", "Yes, I did."]
    assert [w.text for w in writer.reply(["It was cold.", GAME], 3, seed=1)] == ["Yes, I did."]
    assert [w.text for w in writer.reply(GAME, 1, seed=1)] == ["It was cold."]


def test_different_replies_are_preferred() -> None:
    def at(text: str, oddity: float, *z: float) -> writer_module.Written:
        return writer_module.Written(text, z, 1.0, 1, oddity)

    found = [at("b", 0.2, 0.1, 0.0), at("a", 0.1, 0.0, 0.0), at("c", 0.5, 5.0, 0.0), at("d", 0.3, 0.0, 4.0)]
    assert [w.text for w in writer_module._furthest(found, 3)] == ["a", "c", "d"]
    assert [w.text for w in writer_module._furthest(found, 9)] == ["a", "c", "d", "b"]
    assert writer_module._furthest([], 3) == []


def test_what_the_writer_cannot_read(writer: Writer) -> None:
    for text, message in (
        ("Где ты был вчера?", "letters that the writer 'test' never saw .it reads en-us."),
        ("", "cannot be read as a sentence: no letters or digits"),
        ("?!", "no letters or digits"),
        ("bell\x07", "control characters"),
        ("half \ud83d", "half of a character"),
        ("xy" * 40, "has 81 tokens, and this writer reads sentences of at most 24"),
        ("sea " * 900, "put one on a line"),
    ):
        for use in (lambda t: writer.embed([t]), lambda t: writer.write(1, like=t), lambda t: writer.between(SEA, t)):
            with pytest.raises(SpeechVAEError, match=message):
                use(text)
    with pytest.raises(SpeechVAEError, match="never saw"):
        writer.reply([GAME, "Где ты был?"])
    assert len(writer.reply([GAME, "sea " * 40], 1, seed=1)) == 1  # of a long turn the end is heard
    assert writer.embed(["the sea, море"]).shape == (1, 4) and writer.embed(["1984"]).shape == (1, 4)
    with pytest.raises(SpeechVAEError, match="nothing to reply to"):
        writer.reply([])
    for call in (lambda: writer.write(0), lambda: writer.reply(GAME, 0)):
        with pytest.raises(SpeechVAEError, match="n must be at least 1, not 0"):
            call()
    with pytest.raises(SpeechVAEError, match="steps must be at least 2, not 1"):
        writer.between(SEA, GAME, 1)


def test_odd_lines(writer: Writer) -> None:
    long = "the sea and the ship and " * 9
    lines = [SEA, "", GAME, "...", "bell\x07", long, "   ", "Где ты?", "<s> and </s>", SEA]
    told: list[int] = []
    found = writer.odd(lines, samples=4, progress=told.append)
    assert sum(told) == len(lines)
    assert sorted(j.number for j in found) == [1, 3, 4, 5, 6, 8, 9, 10]
    assert all(j.text == clean(lines[j.number - 1]) for j in found)
    assert [j.oddity for j in found] == sorted((j.oddity for j in found), reverse=True)
    assert [(j.number, j.reason, j.nats) for j in found[:2]] == [
        (4, "no letters or digits", float("inf")), (5, "holds control characters: is it text?", float("inf")),
    ]  # fmt: skip
    assert not any(j.reason for j in found[2:])
    by_number = {j.number: j for j in found}
    assert by_number[1].nats == by_number[10].nats == writer.odd([SEA], samples=4)[0].nats
    ids = writer.tokenizer.encode(clean(long))
    pieces = [ids[i : i + 24] for i in range(0, len(ids), 24)]
    costs = writer._bound(pieces, None, 4)
    assert by_number[6].tokens == len(ids) > 48 and by_number[6].nats == sum(costs)
    usual = writer.settings.usual
    assert by_number[6].oddity == max(usual.oddity(c, len(p)) for c, p in zip(costs, pieces, strict=True))
    with pytest.raises(SpeechVAEError, match="no line to judge"):
        writer.odd(["", " "])


def test_blocked_words() -> None:
    blocked = block_words(["Damn", " hell\n", "can", "", "  ", "two  words", "c++", "don't", "CAFÉ"])
    for text in (
        "damn", "Oh, DAMN!", "'damn'", "a damn-fool thing", "Hell…", "Can you?", "in two\nwords or", "I like C++.",
        "I don’t", "the cafe\u0301", "_damn_",
    ):  # fmt: skip
        assert blocked(text), text
    for text in ("", "goddamn", "damned", "shell", "canal", "can't", "I can’t", "two other words", "C", "he'll"):
        assert not blocked(text), text
    assert not block_words([])("") and not block_words([" "])("anything at all")


def test_usual_costs_are_recovered() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(3, 60, 20_000)
    y = 3 + 4 * n + (6 + 0.3 * n) * rng.standard_normal(len(n))
    found = fit_usual(y.tolist(), n.tolist())
    assert (found.a, found.b) == (pytest.approx(3, abs=0.6), pytest.approx(4, abs=0.03))
    assert (found.c, found.d) == (pytest.approx(6, abs=0.4), pytest.approx(0.3, abs=0.03))
    scores = np.array([found.oddity(c, k) for c, k in zip(y.tolist(), n.tolist(), strict=True)])
    assert abs(scores.mean()) < 0.03 and scores.std() == pytest.approx(1, abs=0.03)
    # Costs without any spread still leave something to divide by.
    exact = fit_usual([1 + 2.0 * k for k in range(3, 30)], list(range(3, 30)))
    assert exact.c == 0.5 and exact.d < 1e-9 and exact.oddity(1 + 2.0 * 9, 9) == pytest.approx(0, abs=1e-6)


# -- writers on disk -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    (path / "README.md").write_text("my card")
    return save_writer(path, *tiny_writer(3))


def test_a_saved_writer_is_the_same(folder: Path, tmp_path: Path) -> None:
    settings, model, tokenizer = tiny_writer(3)
    loaded = load_writer(folder)
    assert loaded[0] == settings and loaded[2].encode(SEA) == tokenizer.encode(SEA) and not loaded[1].training
    for (k, a), (other, b) in zip(model.state_dict().items(), loaded[1].state_dict().items(), strict=True):
        assert k == other and torch.equal(a.half().float() if a.is_floating_point() else a, b)
    names = {"tokenizer.json", "weights.safetensors", "writer.yaml"}
    assert {p.name for p in folder.iterdir()} == {"README.md", *names}
    assert "train" not in (folder / "writer.yaml").read_text()
    # Written and read once more, nothing changes any longer.
    again = Writer.load(save_writer(tmp_path / "again", *loaded))
    assert again.write(9, seed=1) == Writer.load(str(folder)).write(9, seed=1)
    assert again.odd([SEA]) == Writer.load(str(folder)).odd([SEA]) != Writer.load("test").odd([SEA])


def test_a_test_writer_leaves_the_random_numbers_alone() -> None:
    before = torch.random.get_rng_state()
    one, two, other = (tiny_writer(s)[1].state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["embed.weight"], other["embed.weight"])


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_damaged_writers(folder: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(SpeechVAEError, match=message):
            Writer.load(folder)

    settings, weights, tokenizer = (folder / n for n in ("writer.yaml", "weights.safetensors", "tokenizer.json"))
    kept = {p: p.read_bytes() for p in (settings, weights, tokenizer)}
    for old, new, message in (
        ("name: test", "nmae: test", "(?s)writer.yaml has settings that do not fit:.*nmae: Extra inputs.*"),
        ("name: test", "nmae: test", "name: Field required"),
        ("  z_dim: 4", "  zdim: 4", "text_vae.zdim: Extra inputs"),
        ("  z_dim: 4", "  z_dim: many", "text_vae.z_dim: .*integer"),
        ("  z_dim: 4", "  z_dim: 6", "weights.safetensors does not fit the model .other shape"),
        ("  decoder_layers: 2", "  decoder_layers: 3", "does not fit the model .missing: decoder.2"),
        ("name: test", "name: [", "writer.yaml is not valid YAML"),
        ("  c: 50.0", "  c: 0.0", "usual.c: Input should be greater than 0"),
    ):
        change(settings, old, new)
        refused(message)
        settings.write_bytes(kept[settings])
    settings.write_text("just words")
    refused("must hold `key: value` settings")
    settings.write_bytes(kept[settings])
    weights.write_bytes(kept[weights][:-9])
    refused("weights.safetensors is damaged")
    weights.unlink()
    refused("no file at .*weights.safetensors")
    weights.write_bytes(kept[weights])
    tokenizer.write_bytes(kept[tokenizer][:99])
    refused("tokenizer.json is damaged")
    tokenizer.unlink()
    refused("no tokenizer at")
    Tokenizer.train(LINES, 300).save(tokenizer)
    refused("does not fit the model .*other shape: .*embed.weight")
    tokenizer.write_bytes(kept[tokenizer])
    assert len(Writer.load(folder).odd([SEA])) == 1
    settings.unlink()
    refused("is no writer: it has no writer.yaml")


def test_names_of_writers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_files, "SHIPPED", tmp_path / "none")
    with pytest.raises(SpeechVAEError, match="no writer .poe.: none is installed; or give"):
        Writer.load("poe")
    monkeypatch.setattr(writer_files, "SHIPPED", tmp_path)
    save_writer(tmp_path / "byron", *tiny_writer(0))
    (tmp_path / "no_writer").mkdir()
    with pytest.raises(SpeechVAEError, match="no writer 'poe': known are byron, mine; or give the path"):
        Writer.load("poe")
    assert Writer.load("mine").odd([SEA]) == Writer.load(folder).odd([SEA]) != Writer.load("byron").odd([SEA])
