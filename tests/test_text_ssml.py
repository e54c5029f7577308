"""SSML: the same words as plain text, with what was asked for them; faulty markup is refused with its place."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechvae.errors import SpeechVAEError
from speechvae.text import Frontend, Sentence, get_frontend
from speechvae.text.ssml import parse_ssml


@pytest.fixture(scope="module")
def english() -> Frontend:
    return get_frontend("en-us")


def symbols(sentences: list[Sentence]) -> str:
    return " / ".join("".join(s.symbols()[0]).strip("^$") for s in sentences)


def spoken(frontend: Frontend, text: str) -> str:
    return " ".join((w.spoken or w.text).lower() for s in frontend(text, ssml=True) for w in s.words)


@pytest.mark.parametrize("text", ["Hello, world! How?", "Mr. Smith's 3 dogs -- it ran… “No!”", "", "😀", "a\n\nb"])
def test_plain_text_means_the_same(english: Frontend, text: str) -> None:
    plain = english(text)
    for markup in (text, f"<speak>{text}</speak>", f"<speak>{text[:3]}<prosody>{text[3:]}</prosody></speak>"):
        marked = english(markup, ssml=True)
        assert symbols(marked) == symbols(plain)
        assert [w.phonemes for s in marked for w in s.words] == [w.phonemes for s in plain for w in s.words]


def test_spans_point_into_the_markup(english: Frontend) -> None:
    text = "<speak>\n <p>Tom &amp; the <emphasis>Jérôme</emphasis></p>\r\n<![CDATA[<now>]]> &#65;nd</speak>"
    words = [w for s in english(text, ssml=True) for w in s.words]
    assert [text[w.start : w.end] for w in words] == ["Tom", "&amp;", "the", "Jérôme", "now", "&#65;nd"]
    assert [w.text for w in words] == ["Tom", "&", "the", "Jérôme", "now", "And"]
    bare = "x <emphasis>yes</emphasis> no"
    assert [bare[w.start : w.end] for s in english(bare, ssml=True) for w in s.words] == ["x", "yes", "no"]


def test_declaration_comment_and_namespace(english: Frontend) -> None:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><!-- note -->'
        '<speak version="1.1" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="en-US">Hi <mark name="m"/>you.'
        "<metadata>not <x>spoken</x></metadata></speak>"
    )
    assert symbols(english(text, ssml=True)) == symbols(english("Hi you."))


def test_prosody_nests(english: Frontend) -> None:
    text = (
        'a <prosody rate="150%" pitch="+2st">b <prosody rate="-50%" pitch="-12.5st">c</prosody></prosody> '
        '<prosody rate="slow">d</prosody> <prosody pitch="+100%">e</prosody> '
        '<prosody rate="1.2" pitch="low">f</prosody>'
    )
    words = [w for s in english(text, ssml=True) for w in s.words]
    assert [(w.text, w.rate, w.pitch) for w in words] == [
        ("a", 1.0, 0.0), ("b", 1.5, 2.0), ("c", 0.75, -10.5), ("d", 0.75, 0.0), ("e", 1.0, 12.0), ("f", 1.2, -2.0),
    ]  # fmt: skip


def test_emphasis(english: Frontend) -> None:
    text = (
        "a <emphasis>b</emphasis> <emphasis level='strong'>c <emphasis level='none'>d</emphasis></emphasis> "
        "<emphasis level='reduced'>e</emphasis>"
    )
    words = [w for s in english(text, ssml=True) for w in s.words]
    assert [w.emphasis for w in words] == [0.0, 0.5, 1.0, 0.0, -0.5]


def test_style_inside_a_word_does_not_part_it(english: Frontend) -> None:
    (sentence,) = english("un<emphasis>believ</emphasis>able", ssml=True)
    assert [w.text for w in sentence.words] == ["unbelievable"]


def test_breaks(english: Frontend) -> None:
    text = '<break time="250ms"/>One <break time="1.5s"/>two<break/>three. <break strength="weak"/>Four'
    first, second = english(text, ssml=True)
    assert first.break_before == 0.25 and first.break_after == (1.5, 0.4, None)
    assert first.boundaries == (",", ",", ".")
    assert second.break_after == (None,) and second.break_before == 0.2
    (alone,) = english("Yes <break time='100ms'/><break time='200ms'/>", ssml=True)
    assert alone.break_after == (pytest.approx(0.3),) and alone.boundaries == (".",)


def test_no_break(english: Frontend) -> None:
    (sentence,) = english("Now,<break strength='none'/> then<break time='50ms'/> go", ssml=True)
    assert sentence.boundaries == (" ", " ", ".") and sentence.break_after == (0.0, 0.05, None)


def test_paragraphs_and_sentences(english: Frontend) -> None:
    text = "<speak><p>One. Two</p><p><s>Dr. No. Yes</s><s>Go</s></p>End</speak>"
    assert [s.text for s in english(text, ssml=True)] == ["One. ", "Two", "Dr. No. Yes", "Go", "End"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<sub alias='World Wide Web'>W3</sub>, yes", "world wide web yes"),
        ("<sub alias='Dr. Lee at 5 km'>x</sub>", "doctor lee at five kilometers"),
        ("<sub alias='hello'/> you", "hello you"),
        ("<say-as interpret-as='characters'>B2b.</say-as>", "b two b dot"),
        ("<say-as interpret-as='spell-out'>cat</say-as>", "c a t"),
        ("<say-as interpret-as='digits'>2024</say-as>", "two zero two four"),
        ("<say-as interpret-as='telephone'>+1 555-01</say-as>", "plus one five five five zero one"),
        ("<say-as interpret-as='cardinal'>2024</say-as>", "two thousand and twenty four"),
        ("<say-as interpret-as='number'>3.5</say-as>", "three point five"),
        ("<say-as interpret-as='ordinal'>3</say-as>", "third"),
        ("<say-as interpret-as='date' format='dmy'>1/2/2001</say-as>", "february first two thousand and one"),
        ("<say-as interpret-as='date' format='mdy'>1/2/2001</say-as>", "january second two thousand and one"),
        ("<say-as interpret-as='date'>soon</say-as>", "soon"),
        ("<say-as interpret-as='time'>4:30pm</say-as>", "four thirty p m"),
        ("<say-as interpret-as='currency'>$5.20</say-as>", "five dollars twenty cents"),
        ("<say-as interpret-as='ordinal'>some</say-as>", "some"),
        ("<say-as interpret-as='digits'>😀</say-as> ok", "ok"),
    ],
)
def test_read_otherwise_than_written(english: Frontend, text: str, expected: str) -> None:
    assert spoken(english, text) == expected


def test_german_say_as() -> None:
    german = get_frontend("de")
    assert spoken(german, "<say-as interpret-as='characters'>ab1</say-as>") == "a b eins"
    assert spoken(german, "<say-as interpret-as='cardinal'>1234</say-as>") == "eintausendzweihundertvierunddreissig"
    date = "<say-as interpret-as='date' format='ymd'>2001-2-1</say-as>"
    assert spoken(german, date) == "erste februar zweitausendeins"


def test_phonemes(english: Frontend) -> None:
    text = "a <phoneme alphabet='ipa' ph='təˈmɑtoʊ'>tomato</phoneme>, <phoneme ph='hə|lˈoʊ'/>"
    (sentence,) = english(text, ssml=True)
    assert symbols([sentence]) == "ə təmˈɑtoʊ,hə lˈoʊ."
    assert text[sentence.words[1].start : sentence.words[1].end] == "tomato"


def test_marks_after_an_element(english: Frontend) -> None:
    (sentence,) = english("<sub alias='one'>I.</sub>, <phoneme ph='x'>b!</phoneme> c?", ssml=True)
    assert sentence.boundaries == (",", " ", "?")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<speak>a", "line 1, column 9: no element found.*not closed"),
        ("<speak>a &\n b</speak>", "line 1, column 11: .*&amp;"),
        ("a < b", "line 1, column 4: .*&lt;"),
        ("<p>x</s>", "line 1, column 7: mismatched"),
        ("x\n<foo/>", "line 2, column 1: <foo> is not supported; supported are speak, p"),
        ("\n\n<speak>\n<voice name='a'>b</voice></speak>", "line 4, column 1: <voice>"),
        ("<speak>&a;</speak>", "undefined entity"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><speak>&a;</speak>', "DOCTYPE"),
        ("<speak>x</speak><speak>y</speak>", "column 17: junk after"),
        ("<p><speak>x</speak></p>", "outermost"),
        ("<break time='5'/>", "'5' is no duration; write '500ms'"),
        ("<break time='-1s'/>", "no duration"),
        ("<break time='61s'/>", "too long"),
        ("<break strength='huge'/>", "known are none, x-weak"),
        ("<prosody rate='fastish'>x</prosody>", "rate='fastish'; write"),
        ("<prosody rate='+2'>x</prosody>", "rate"),
        ("<prosody rate='0%'>x</prosody>", "0.2 to 5"),
        ("<prosody rate='300%'><prosody rate='300%'>x</prosody></prosody>", "rate 9"),
        ("<prosody pitch='+5Hz'>x</prosody>", "write '\\+2st'"),
        ("<prosody pitch='-100%'>x</prosody>", "no pitch"),
        ("<emphasis level='big'>x</emphasis>", "level='big'"),
        ("<sub>x</sub>", 'needs alias="'),
        ("<say-as interpret-as='poem'>x</say-as>", "known are characters"),
        ("<phoneme ph='X1'>x</phoneme>", "line 1, column 1: 'X'"),
        ("<phoneme ph='x' alphabet='x-sampa'>x</phoneme>", "x-sampa"),
        ("<sub alias='a'>b <p>c</p></sub>", "<p> inside <sub>"),
        ("a\x00b", "not well-formed"),
        ("a\ud800b", "invalid character at 1|invalid character at 8"),
        ("<p>" * 200 + "x" + "</p>" * 200, "nested more than 100"),
        ("<p>[[ABC]]</p>", "IPA"),
    ],
)
def test_faulty_markup(english: Frontend, text: str, complaint: str) -> None:
    with pytest.raises(SpeechVAEError, match=complaint):
        english(text, ssml=True)


def test_billion_laughs_are_refused_at_once(english: Frontend) -> None:
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a0 "lol">{entities}]><speak>&a9;</speak>'
    start = time.process_time()
    with pytest.raises(SpeechVAEError, match="DOCTYPE"):
        english(bomb, ssml=True)
    assert time.process_time() - start < 0.5


def test_unknown_attributes_are_ignored_and_said(english: Frontend, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert symbols(english("<prosody volume='loud'>hi</prosody>", ssml=True)) == "hˈaɪ."
    assert "volume" in caplog.text


def test_long_documents_in_linear_time() -> None:
    text = "<speak>" + "<s>A <sub alias='b'>x</sub> &amp; <break/>c.</s>\n" * 8_000 + "</speak>"
    start = time.process_time()
    document = parse_ssml(text, "en-us")
    assert len(document.overrides) == len(document.breaks) == 8_000
    assert time.process_time() - start < 5


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            ["one ", "two. ", "&amp; ", "x", "<break/>", "<p>", "</p>", "<s>", "</s>", "<emphasis>", "</emphasis>",
             "<sub alias='q'>", "</sub>", "<b", "&", "\n\n", "<prosody rate='2'>", "</prosody>", "[[ə]]", "é", "😀"]
        ),
        max_size=12,
    )
)  # fmt: skip
def test_any_markup_gives_sentences_or_an_error(english: Frontend, parts: list[str]) -> None:
    text = "".join(parts)
    try:
        sentences = english(text, ssml=True)
    except SpeechVAEError as error:
        assert "line" in str(error)
        return
    for sentence in sentences:
        for word in sentence.words:
            assert 0 <= word.start <= word.end <= len(text) and word.phonemes
