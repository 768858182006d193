"""What pages name but do not make, small: a reader's own model, and the public data sets in their layouts."""

from __future__ import annotations

import io
import json
import tarfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForTokenClassification,
)

import tiny
from whybert.datasets import DATASETS

POSITIVE = [
    f"{how} {what}" for how, what in product(("a charming", "a moving", "a good"), ("film", "cast", "plot"))
]
NEGATIVE = [
    f"{how} {what}" for how, what in product(("a dull", "a bleak", "a bad"), ("film", "cast", "plot"))
]


def _rated(count: int, labels: Sequence[Any] = (0, 1)) -> Iterator[tuple[Any, str]]:
    """So many sentences in turn for each label, no two alike."""
    for number in range(count):
        label = number % len(labels)
        listed = NEGATIVE if label < len(labels) / 2 else POSITIVE
        yield labels[label], f"{listed[number // len(labels) % len(listed)]}, says reader {number} ."


def classifier(*labels: str) -> Callable[[Path], object]:
    """A tiny model of random weights with these labels."""

    def make(path: Path) -> None:
        tokenizer = tiny.wordpiece()
        names = dict(enumerate(labels))
        how = {"max_position_embeddings": 512, "label2id": {name: i for i, name in names.items()}}
        model = tiny.bert(tokenizer, id2label=names, **how)
        tiny.save(path, model, tokenizer)

    return make


def masked_lm(folder: Path) -> None:
    """A masked language model of the words of the others."""
    tokenizer = tiny.wordpiece()
    tiny.save(folder, BertForMaskedLM(tiny.bert_config(tokenizer)), tokenizer)


def with_head(kind: Any, *labels: str) -> Callable[[Path], object]:
    """A tiny model with another head."""

    def make(path: Path) -> None:
        tokenizer, names = tiny.wordpiece(), dict(enumerate(labels))
        how = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
        tiny.save(path, kind(tiny.bert_config(tokenizer, **(how if labels else {}))), tokenizer)

    return make


def adapter(path: Path) -> None:
    """A change of `my-model` as peft keeps it."""
    import peft

    model = tiny.bert(max_position_embeddings=512)
    settings = peft.LoraConfig(
        task_type="SEQ_CLS", target_modules=["query"], base_model_name_or_path="../my-model"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an attribute of transformers that is about to be renamed
        adapted = peft.get_peft_model(model, settings)
        adapted.peft_config["default"].base_model_name_or_path = "../my-model"
        adapted.save_pretrained(path)


def state_dict(path: Path) -> None:
    """The weights of a classifier as PyTorch code of 2019 saved them."""
    torch.save(tiny.bert(num_labels=5).state_dict(), path)


def sizes(path: Path) -> None:
    tiny.bert_config(tiny.wordpiece(), num_labels=5).to_json_file(path)


def vocabulary(path: Path) -> None:
    words = tiny.wordpiece().get_vocab()
    path.write_text("".join(f"{word}\n" for word in sorted(words, key=words.__getitem__)), encoding="utf-8")


def files(contents: Mapping[str, str]) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        for name, content in contents.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(content, encoding="utf-8")

    return make


def archive(contents: Mapping[str, str]) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with tarfile.open(path, "w:gz") as tar:
            for name, content in contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content.encode())
                tar.addfile(member, io.BytesIO(content.encode()))

    return make


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content, encoding="utf-8")


def _glue(count: int) -> str:
    return "sentence\tlabel\n" + "".join(f"{words}\t{label}\n" for label, words in _rated(count))


def _fine(count: int) -> str:
    return "".join(f"{label} {words}\n" for label, words in _rated(count, range(5)))


def _tweets(start: int, count: int) -> str:
    labels = ("negative", "neutral", "positive")
    return "".join(
        f"{start + i}\t{label}\t{start} {words}\n" for i, (label, words) in enumerate(_rated(count, labels))
    )


def _reviews() -> dict[str, str]:
    return {
        f"aclImdb/{split}/{('neg', 'pos')[label]}/{number}_{(1, 9)[label]}.txt": f"{split}: {words}"
        for split in ("train", "test")
        for number, (label, words) in enumerate(_rated(20))
    }


def _rationales() -> dict[str, str]:
    contents: dict[str, str] = {}
    rows = []
    for number, (label, words) in enumerate(_rated(6)):
        name = f"{('negR', 'posR')[label]}_{number}.txt"
        contents[f"movies/docs/{name}"] = words
        marked = {"docid": name, "start_token": 1, "end_token": 2}
        rows.append({"annotation_id": name, "classification": ("NEG", "POS")[label], "evidences": [[marked]]})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return contents | {f"movies/{split}.jsonl": lines for split in ("train", "val", "test")}


def _lime() -> str:
    rows = ((words.split(), label) for label, words in _rated(6))
    return "".join(
        json.dumps({"index": index, "words": words, "scores": [float(len(word)) for word in words]}) + "\n"
        for index, (words, _) in enumerate(rows)
    )


STAND_INS: Mapping[str, Callable[[Path], object]] = {
    "my-model": classifier("negative", "positive"),
    "my-adapter": adapter,
    "my-masked-lm": masked_lm,
    "my-ner-model": with_head(BertForTokenClassification, "O", "B-LOC", "B-PER"),
    "my-qa-model": with_head(BertForQuestionAnswering),
    "my-choice-model": with_head(BertForMultipleChoice),
    "my-nli-model": classifier("entailment", "neutral", "contradiction"),
    "models/sst5": classifier(*DATASETS["sst5"].labels),
    "models/sst5-seed43": classifier(*DATASETS["sst5"].labels),
    "models/imdb": classifier(*DATASETS["imdb"].labels),
    "SST2": files({"train.tsv": _glue(24), "dev.tsv": _glue(6)}),
    "SST5": files(
        {f"stsa.fine.{split}": _fine(count) for split, count in (("train", 30), ("dev", 10), ("test", 10))}
    ),
    "SemEval": files(
        {
            f"twitter-{part}-A.tsv": _tweets(100 * number, 9)
            for number, part in enumerate(("2013train", "2016dev", "2016test"))
        }
    ),
    "IMDb.tar.gz": archive(_reviews()),
    "ERASER_movies.tar.gz": archive(_rationales()),
    "results/SST5/checkpoint.bin": state_dict,
    "bert_config.json": sizes,
    "vocab.txt": vocabulary,
    "reviews.txt": text("a charming film .\na dull plot .\n"),
    "reviews.csv": text(
        "text,label\n"
        + "".join(f'"{words}",{("negative", "positive")[label]}\n' for label, words in _rated(20))
    ),
    "lime.jsonl": text(_lime()),
}
"""Each by the path that the pages give it."""
