"""The cards of the methods say what the code does: options, costs, signs, sums, and what each serves."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache
from inspect import getmodule
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BertForMaskedLM,
    GPT2Config,
    LlamaConfig,
    T5Config,
)

import tiny
from whybert import METHODS, Classifier, WhybertError, explain
from whybert.methods import Method
from whybert.typed import choices_of, hinted, written

CARDS: Final = Path(__file__).resolve().parents[1] / "docs" / "cards"
MEASURED: Final = CARDS.parents[1] / "benchmarks" / "README.md"
SECTIONS: Final = (
    "What it computes",
    "What it costs",
    "When it misleads",
    "Options",
    "How to call it",
    "Source",
    "See also",
)
FEW: Final[Mapping[str, Any]] = {"samples": 12, "n_steps": 2, "steps": 2, "layer": 0}
ARXIV: Final = re.compile(r"arXiv\s+\[?(\d{4}\.\d{4,5})")


def one_line(text: str) -> str:
    return " ".join(text.split())


@cache
def rows() -> dict[str, dict[str, str]]:
    """What the tables of the index say of each method, by their heads."""
    found: dict[str, dict[str, str]] = {}
    heads: list[str] = []
    for line in (CARDS / "index.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" |")] if line.startswith("|") else []
        if cells and (link := re.fullmatch(r"\[`(\w+)`\]\((\w+)\.md\)", cells[0])):
            assert link[1] == link[2]
            found.setdefault(link[1], {}).update(zip(heads, cells[1:], strict=True))
        elif cells and not cells[0].startswith("-"):
            heads = cells[1:]
    return found


@cache
def card(name: str) -> dict[str, str]:
    """What stands under each heading of a card; under the method's own name what comes before them."""
    parts = re.split(
        r"^#{1,2} (.+)\n", (CARDS / f"{name}.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def few(name: str, **options: Any) -> Method:
    known = {field.name for field, _ in hinted(METHODS[name])}
    return METHODS[name](**{key: value for key, value in {**FEW, **options}.items() if key in known})


def test_every_method_has_a_card_in_the_order_of_the_table() -> None:
    assert list(rows()) == list(METHODS)
    assert {path.stem for path in CARDS.glob("*.md")} == {*METHODS, "index"}


@pytest.mark.parametrize("name", METHODS)
def test_a_card_has_its_sections_and_the_facts_of_the_index(name: str) -> None:
    (title, opening), *sections = card(name).items()
    row = rows()[name]
    assert title.startswith(f"`{name}`: ")
    assert [heading for heading, _ in sections] == list(SECTIONS)
    assert all(text.strip() for _, text in sections)
    assert f"**{row['what it answers']}**" in one_line(opening)
    said = "; ".join(
        f"{head}: {row[key]}"
        for head, key in (
            ("Family", "family"),
            ("Signed", "signed"),
            ("Sums to the output", "sums to the output"),
            ("Black boxes", "black boxes"),
            ("Decoders", "decoders"),
            ("Encoder-decoders", "encoder-decoders"),
        )
    )
    assert said.replace("; ", ". ") in one_line(opening)
    assert re.search(r"^\$\$ .+ \$\$$", card(name)["What it computes"], re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", METHODS)
def test_a_card_has_the_family_the_cost_and_what_is_needed_from_the_code(name: str) -> None:
    method, row = METHODS[name](), rows()[name]
    assert row["family"] == method.kind
    assert row["passes"] == method.passes
    costs = one_line(card(name)["What it costs"])
    assert costs.startswith(f"Passes: `{method.passes}`.")
    assert not method.needs or method.needs in costs


@pytest.mark.parametrize("name", METHODS)
def test_a_card_has_each_option_with_its_default_and_its_choices(name: str) -> None:
    table = card(name)["Options"].strip().splitlines()[2:]
    found = [re.fullmatch(r"\| `(\w+)` \| (?:none|`(.+?)`) \| (.+) \|", line) for line in table]
    options = list(hinted(METHODS[name]))
    assert [(each[1], each[2]) for each in found if each] == [
        (field.name, None if field.default is None else written(field.default)) for field, _ in options
    ]
    for each, (_, hint) in zip(found, options, strict=True):
        assert each is not None
        assert all(f"`{written(choice)}`" in each[3] for choice in choices_of(hint))


@pytest.mark.parametrize("name", METHODS)
def test_the_sign_on_a_card_is_that_of_the_scores(name: str) -> None:
    said = rows()[name]["signed"]
    assert METHODS[name]().is_signed == (said == "yes")
    signed = [
        f"`{field.name}={written(choice)}`"
        for field, hint in hinted(METHODS[name])
        for choice in choices_of(hint)
        if METHODS[name](**{field.name: choice}).is_signed
    ]
    assert said in ("yes", *(signed or ["no"]))


@pytest.mark.parametrize("name", METHODS)
def test_the_papers_on_a_card_are_those_of_the_docstring(name: str) -> None:
    named = set(ARXIV.findall(METHODS[name].__doc__ or "")) - {""}
    cited = set(ARXIV.findall(card(name)["Source"]))
    assert named <= cited
    assert all(
        paper in (getmodule(METHODS[name]).__doc__ or "") + (METHODS[name].__doc__ or "") for paper in cited
    )
    assert all(f"https://arxiv.org/abs/{paper}" in card(name)["Source"] for paper in cited)


@pytest.mark.parametrize("name", METHODS)
def test_the_figures_on_a_card_stand_where_they_are_measured(name: str) -> None:
    said = card(name)["What it costs"] + card(name)["When it misleads"]
    figures = set(re.findall(r"(?<![\d.])\.\d+", said)) | set(re.findall(r"\d+\.\d+(?= (?:to|times))", said))
    missing = {each for each in figures if not re.search(rf"(?<![1-9.]){re.escape(each)}(?!\d)", measured())}
    assert not missing


def test_a_card_leads_to_what_its_method_buys_where_that_is_measured() -> None:
    with (CARDS.parent / "results" / "which-method.csv").open(encoding="utf-8") as stream:
        measured = {row["method"].partition(":")[0] for row in csv.DictReader(stream)} - {""}
    linked = {name for name in METHODS if "(../which-method.md#the-numbers)" in card(name)["What it costs"]}
    assert linked == measured


@cache
def measured() -> str:
    pages = [*CARDS.parent.glob("*.md"), CARDS.parent / "results" / "README.md", MEASURED]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


TEXT: Final = "the film was good."


@cache
def classifier() -> Classifier:
    """With biases, so that it is seen which sums hold without them."""
    tokenizer = tiny.wordpiece()
    model = tiny.bert(tokenizer)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
    return Classifier(model.double(), tokenizer)


@pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].given])
def test_what_a_card_says_of_sums_holds(name: str) -> None:
    said, found = rows()[name]["sums to the output"], explain(classifier(), TEXT, few(name))[0].completeness
    if found is None:
        assert said == "no"
        return
    is_exact = abs(found.remainder) < 1e-9
    assert is_exact == (said in ("yes", "with the biases", "with the baseline"))
    if said != "no":
        assert said.endswith(f"the {found.rest}") or (said == "yes" and found.biases is None)


_SIZES: Final[dict[str, Any]] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
_BART: Final[dict[str, Any]] = {
    f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")
} | {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24}


@cache
def served(kind: str) -> list[Classifier]:
    """Decoders and encoder-decoders; one of T5's kind, as most decoders, has no mask token."""
    tokenizer, masking = tiny.byte_level(), tiny.byte_level()
    tokenizer.mask_token = None
    common: dict[str, Any] = {
        "vocab_size": len(masking),
        "num_labels": 2,
        "pad_token_id": masking.pad_token_id,
        "bos_token_id": masking.bos_token_id,
        "eos_token_id": masking.eos_token_id,
    }
    start = {"decoder_start_token_id": masking.pad_token_id}
    configs = {
        "decoders": [
            GPT2Config(**common, n_embd=16, n_layer=2, n_head=2, n_positions=64),
            LlamaConfig(**common, **_SIZES),
        ],
        "encoder-decoders": [
            T5Config(**common, **start, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2),
            BartConfig(**common, **start, **_BART, d_model=16, max_position_embeddings=64),
        ],
    }
    torch.manual_seed(0)
    return [
        Classifier(
            AutoModelForSequenceClassification.from_config(config).eval(),
            masking if isinstance(config, BartConfig) else tokenizer,
        )
        for config in configs[kind]
    ]


def serves(classifier: Any, method: Method, **options: Any) -> bool:
    try:
        return bool(explain(classifier, TEXT, method, **options))
    except WhybertError:
        return False


@pytest.mark.parametrize("kind", ["decoders", "encoder-decoders"])
@pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].given])
def test_a_card_says_which_models_are_served(name: str, kind: str) -> None:
    said, plain = rows()[name][kind], few(name)
    found = [serves(each, plain) for each in served(kind)]
    if said.startswith("`"):
        option, value = said.strip("`").split("=")
        assert not all(found)
        assert all(serves(each, few(name, **{option: value})) for each in served(kind))
    else:
        assert found == [said == "yes"] * len(found)


@pytest.mark.parametrize("name", METHODS)
def test_a_card_says_whether_black_boxes_and_long_texts_are_served(name: str, tmp_path: Path) -> None:
    row, given = rows()[name], {}
    if METHODS[name].given:
        tokenizer = tiny.wordpiece()
        tiny.save(tmp_path, BertForMaskedLM(tiny.bert_config(tokenizer)), tokenizer)
        given = {METHODS[name].given: str(tmp_path)}
    method = few(name, **given)
    function = Classifier.of(lambda texts: [[0.3, 0.7] for _ in texts], labels=["negative", "positive"])
    assert serves(function, method) == (row["black boxes"] == "yes")
    long = Classifier(classifier().model, classifier().tokenizer, max_length=20)
    text = "the film was good, and the actors were great. " * 4
    said = one_line(next(iter(card(name).values())))
    try:
        [found] = explain(long, text, method, long="windows")
    except WhybertError:
        assert "Long texts in windows: no." in said
    else:
        assert "Long texts in windows: yes." in said
        assert len(found.windows) > 1
