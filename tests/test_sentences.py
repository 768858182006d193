"""Sentences: where they end, and that every word is in exactly one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from test_explanation import explanations
from whybert.encoding import tokenize
from whybert.evaluation.metric import Subject
from whybert.explanation import Explanation, Target, Token, units_of
from whybert.render import pieces
from whybert.render.html import html
from whybert.render.latex import latex
from whybert.sentences import split_sentences, words_of_sentences

# Sentences are set off by "|", which is not a part of the text.
CASES = """
He left. |She stayed! |Why? |No idea.
Mr. Smith met Dr. No in Washington, D.C. and left. |He paid $3.14 for v2.0 of node.js.
J. R. R. Tolkien wrote it. |See p. 5 and Fig. 3. |He said no. |Then 3 days passed.
They met on Jan. 5 and again in May. |It was e.g. a film, i.e. a bad one, etc. |The end.
He said "Stop." |Then he left. |"Why?" he asked. |(Really?) and so on. |“Yes.” |‘No.’
Well... |I think so. |No… maybe not. |Was that it?! |Yes.
Yahoo! |It is wow!!! |Is it?
it was great! |i loved it. |it was so good
It was great. but nobody writes capitals
a . |b . . . |c ! ! |d
他走了。|「为什么？」|她问。|今天很好！|明天呢？|他说：“好。”|结束
これは本です。|はい、そうです！
यह अच्छा है। |वह बुरा है॥ |ठीक
هل هذا جيد؟ |نعم۔ |لا
Սա լավ է։ |Այո։
ይህ ጥሩ ነው። |አዎ።
Das ist z.B. gut. |„Gut.“ |Dann ging er.
Qu'en dites-vous ? |Rien. |« Non. » |Oui. |»So?« |Ja
See www.example.com/a?b=c for it. |Fine
A great film.<br /><br />|The end<br>is near.
1. First item. |2. is the second
A heading\\n|Text that goes\\non here,\\nBut not there by Mr.\\nSmith. |New.\\n\\n|and more\\n|Last
One\\u2029|two\\r\\n\\r\\n|three
So it ended. – Not so, however. |Fine
"""


@pytest.mark.parametrize("case", CASES.strip().split("\n"))
def test_where_sentences_end(case: str) -> None:
    case = case.replace("\\n", "\n").replace("\\r", "\r").replace("\\u2029", "\u2029")
    text = case.replace("|", "")
    assert [text[start:end] for start, end in split_sentences(text)] == [
        each.strip() for each in case.split("|")
    ]


def test_nothing_has_no_sentence() -> None:
    assert not list(split_sentences(" \n\t"))
    assert not list(split_sentences(""))


marked = st.text(st.sampled_from("aB1 .!?…。\n\r\"'()“”«»,;<br/>\u2029\u00a0") | st.characters(), max_size=40)


@given(marked)
def test_sentences_cover_each_character_that_is_not_white_space_once(text: str) -> None:
    spans = list(split_sentences(text))
    covered = [index for start, end in spans for index in range(start, end)]
    assert covered == sorted(set(covered))
    assert all(text[index].isspace() for index in set(range(len(text))) - set(covered))
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)


@given(explanations())
def test_sentences_partition_the_words_and_carry_their_scores(explanation: Explanation) -> None:
    words, sentences = explanation.words(), explanation.sentences()
    assert [index for each in sentences for index in each.words] == list(range(len(words)))
    assert sorted(token for each in sentences for token in each.tokens) == sorted(
        token for word in words for token in word.tokens
    )
    texts = (explanation.text, explanation.pair or "")
    for sentence in sentences:
        members = [words[index] for index in sentence.words]
        assert {word.sequence for word in members} == {sentence.sequence}
        assert sentence.text == texts[sentence.sequence][sentence.start : sentence.end]
        assert (sentence.start, sentence.end) == (members[0].start, members[-1].end)
        assert sentence.score == pytest.approx(sum(word.score for word in members), abs=1e-6)
    assert units_of(explanation, "sentence") == list(sentences)


TEXTS = (
    "The film was good. Don't you think so? A well-made film\nby Mr. B. Great! it is.",
    "a bad film... The actors were great, though (very!). x",
)


def spans_of(make: object, text: str) -> list[tuple[int, int]]:
    (row,) = tokenize(make(), [text])  # type: ignore[operator]
    groups = words_of_sentences([text], row.word_spans)
    return [(row.word_spans[each[0]][1], row.word_spans[each[-1]][2]) for each in groups]


@pytest.mark.parametrize("text", TEXTS)
def test_sentences_are_those_of_every_tokenizer(text: str) -> None:
    for make in tiny.TOKENIZERS.values():
        assert spans_of(make, text) == list(split_sentences(text))


@pytest.mark.parametrize("pair", [None, "So. It is."])
def test_an_evaluation_has_the_same_sentences(pair: str | None) -> None:
    (row,) = tokenize(tiny.wordpiece(), [TEXTS[0] if pair is None else (TEXTS[0], pair)])
    found = Explanation.of_row(
        row,
        [1.0] * row.token_count,
        labels=("a", "b"),
        logits=(1.0, 0.0),
        probabilities=(0.7, 0.3),
        target=(0, None),
        method="gi",
        options={},
        signed=True,
    )
    judged = Subject(0, row, (1.0, 0.0), (0.7, 0.3), 0)
    assert judged.units("sentence") == tuple(each.tokens for each in found.sentences())
    assert judged.unit_scores(found, "sentence") == tuple(each.score for each in found.sentences())


def test_a_word_that_reaches_over_an_end_makes_one_sentence() -> None:
    text = "One. Two. Three. Four."
    assert words_of_sentences([text], [(0, 0, 3), (0, 3, 8), (0, 8, 9), (0, 10, 15), (0, 17, 22)]) == (
        (0, 1, 2),
        (3,),
        (4,),
    )
    assert words_of_sentences([text], [(0, 2, 12), (0, 12, 13)]) == ((0, 1),)
    assert words_of_sentences(["A b.", "C d."], [(1, 0, 1), (0, 2, 3), (0, 0, 1)]) == ((2, 1), (0,))


TEXT = "Bad start. <B>Good</B> end!"


def example() -> Explanation:
    scores = {"Bad": -1.0, "start": -0.5, ".": 0.25, "<B>Good</B>": 2.0, "end": 0.5, "!": 0.5}
    tokens, spans, position = [], [], 0
    for index, (text, score) in enumerate(scores.items()):
        start = TEXT.index(text, position)
        position = start + len(text)
        spans.append((0, start, position))
        tokens.append(Token(text, start, position, 0, index, False, score))
    return Explanation(
        text=TEXT,
        pair=None,
        tokens=(Token("[CLS]", 0, 0, None, None, True, 9.0), *tokens),
        word_spans=tuple(spans),
        prediction="good",
        probabilities=(0.9, 0.1),
        logits=(2.0, -1.0),
        labels=("good", "bad"),
        target=Target(0, "good"),
        method="attnlrp",
        options={},
        signed=True,
        truncated=False,
        completeness=None,
    )


def test_sentences_are_ranked_and_rendered() -> None:
    explanation = example()
    assert [each.text for each in explanation.sentences()] == ["Bad start.", "<B>Good</B> end!"]
    (best, worst) = explanation.top(level="sentence")
    assert (best.score, best.words, best.tokens) == (3.0, (3, 4, 5), (4, 5, 6))
    assert explanation.top(level="sentence", by="negative") == (worst,)
    assert [[piece.text for piece in line] for line in pieces(explanation, "sentence")] == [
        ["Bad start.", "<B>Good</B> end!"]
    ]
    page = html(explanation, "sentence")
    assert "&lt;B&gt;Good&lt;/B&gt; end!: +3.000" in page
    assert ">Sentence</th>" in page
    assert "Bad start." in latex(explanation, "sentence")


@pytest.mark.parametrize("piece", ["This is a film. ", ".", "(", ".)", "\n ", ". ", "a.", '."', "<br/>"])
def test_long_texts_are_split_in_linear_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    start = time.perf_counter()
    list(split_sentences(text))
    assert time.perf_counter() - start < 10
