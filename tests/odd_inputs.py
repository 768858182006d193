"""Bad and odd inputs, one a line: what is given, the exit code or the error, and what is then said.

A row of SHELL is a command line in an empty folder, with the files that it needs.  Two things are always
there: `model`, a classifier with the labels negative and positive, and `reviews.csv`, two rows with labels.
A row of PYTHON is an expression; `C` is that classifier, and what `namespace` holds is there by its name.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

Content = bytes | str | Callable[[Path], object]
"""Of a file: what it holds, text in UTF-8, or what makes it at its path."""

DONE, FAILED, WRONG_USE, SOME_FAILED = 0, 1, 2, 3


@dataclass(frozen=True)
class Shell:
    """A command line and what comes of it.

    Fields:
        name: of the row; no two have the same.
        line: the command line without `whybert`, as a shell takes it.
        code: the exit code.
        words: of an error its one line holds them all, of anything else stdout and stderr together do.
        files: that it needs, by their paths.
        stdin: what it reads there.
        texts: where the output is JSON lines, the texts (or pairs) that it is about.
        approximate: whether what is said of these texts is not what is said of their beginning.
        flaw: what is wrong today, if something is: then the row is expected to fail.
    """

    name: str
    line: str
    code: int
    words: str | Sequence[str] = ()
    files: Mapping[str, Content] = field(default_factory=dict)
    stdin: bytes | None = None
    texts: Sequence[Any] | None = None
    approximate: bool = False
    flaw: str = ""


@dataclass(frozen=True)
class Python:
    """An expression and what comes of it: the error `raises` with `words` in its one line, or the value `gives`."""

    name: str
    expression: str
    raises: str | None = None
    words: str | Sequence[str] = ()
    gives: Any = None
    flaw: str = ""


# What makes files.


def parquet(**columns: Any) -> Callable[[Path], object]:
    """A Parquet file with these columns."""

    def make(path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(columns), path)

    return make


def cut(content: Callable[[Path], object], size: int) -> Callable[[Path], object]:
    """The first bytes of a file."""

    def make(path: Path) -> None:
        content(path)
        os.truncate(path, size)

    return make


def zipped(name: str, content: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def folder(path: Path) -> None:
    path.mkdir()


def link(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def broken_model(*changes: Callable[[Path], object]) -> Callable[[Path], object]:
    """A copy of `model`, changed."""

    def make(path: Path) -> None:
        shutil.copytree(path.parent / "model", path)
        for change in changes:
            change(path)

    return make


def without(*names: str) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        for name in names:
            (model / name).unlink()

    return change


def holding(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda model: (model / name).write_bytes(content)


def settings(name: str = "config.json", **changes: Any) -> Callable[[Path], object]:
    """Other values in a JSON file of the model; None removes them."""

    def change(model: Path) -> None:
        path = model / name
        values = {**json.loads(path.read_bytes()), **changes}
        path.write_text(json.dumps({key: each for key, each in values.items() if each is not None}))

    return change


def weights(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """The model's weights, changed in place."""

    def make(model: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(model / "model.safetensors")
        change(tensors)
        save_file(tensors, model / "model.safetensors", {"format": "pt"})

    return make


def _fill(tensors: dict[str, Any], value: float) -> None:
    tensors["classifier.weight"].fill_(value)


def _rename(tensors: dict[str, Any], prefix: str) -> None:
    for name in list(tensors):
        tensors[prefix + name] = tensors.pop(name)


def _grow(tensors: dict[str, Any]) -> None:
    tensors["classifier.weight"] = tensors["classifier.weight"].repeat(2, 1)


def pickled(model: Path) -> None:
    """Weights in a pickle that holds more than weights."""
    import pickle

    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Path("/nowhere")))


def with_head(kind: str) -> Callable[[Path], object]:
    """A tiny model with another head, such as BertForTokenClassification."""

    def make(path: Path) -> None:
        import transformers

        import stand_ins

        labels = ("O", "B-LOC") if "Token" in kind else ()
        stand_ins.with_head(getattr(transformers, kind), *labels)(path)

    return make


NER, QA, LM, CHOICE = (
    f"BertFor{kind}" for kind in ("TokenClassification", "QuestionAnswering", "MaskedLM", "MultipleChoice")
)

GOOD = "text,label\na good film,positive\na bad film,negative\n"
TWO = ["a good film", "a bad film"]
PAIR = "text,pair\na good film,a bad film\n"
WIDE = ",".join(f"c{i}" for i in range(1000)) + ",text\n" + ",".join(["x"] * 1000) + ",a good film\n"

# A row a line, so that it is easy to read the tables and to add to them.
# fmt: off
FOR_CONVERSION = {"bert_config.json": json.dumps({"vocab_size": 6, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 8, "type_vocab_size": 2, "hidden_act": "gelu"}), "vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n"}

MANY = {"x.csv": "text,label\n" + "".join(f"a film {i},{('positive', 'negative')[i % 2]}\n" for i in range(40))}
LONG = "the film was good and the actors were great , " * 20

SHELL: list[Shell] = [
    # The command itself.
    Shell("no such command", "expalin x", 2, "Did you mean 'explain'"),
    Shell("an empty command", "''", 2, "no such command"),
    Shell("an option in place of a command", "--model builtin", 2, "--model"),
    Shell("a misspelt option", "explain x --formt json", 2, "--format"),
    Shell("an option of another command", "predict x --method gi", 2, "--method"),
    Shell("an option without its value", "explain x --method", 2, "--method"),
    Shell("nothing to explain", "explain", 2, "TEXT"),
    Shell("nothing to predict", "predict -m model", 2, "TEXT"),
    Shell("layers of a method that has none", "explain x -m model --layers --method gs", 2, ["gs is none", "attnlrp"]),
    Shell("heads of one that has none, among others", "explain x -m model --heads --method attnlrp,lat", 2, "lat is none"),
    Shell("layers in a table of words", "explain x -m model --layers --format csv", 2, ["--layers", "html, json, parquet", "csv"]),
    Shell("heads in a list of the strongest", "explain x -m model --heads --top 3", 2, ["--heads", "--top"]),
    Shell("layers beside the strongest in JSON", "explain x -m model --layers --top 3 --format json", 0, "layers"),
    Shell("patching behind the last layer", "explain x -m model --method attribution_patching:layer=9", 2, ["layer of attribution_patching", "found 9"]),
    Shell("patching below the first layer", "explain x -m model --method attribution_patching:layer=-1", 2, "layer of attribution_patching"),
    Shell("too few values", "explain x --contrast positive", 2, "--contrast"),
    Shell("an unknown list", "list colours", 2, "'colours' is not one of"),
    Shell("list of nothing", "list", 2, "missing argument"),
    Shell("datasets of nothing", "datasets show", 2, "missing argument"),
    Shell("datasets, no such command", "datasets sta sst2", 2, "'sta'"),
    # Texts as arguments.
    Shell("an empty text", "explain '' -m model", 2, "text 1 is empty"),
    Shell("a blank text", "explain '  ' -m model", 2, "text 1 is empty"),
    Shell("an empty text among others", "predict 'a good film' '' -m model", 2, "text 2 is empty"),
    Shell("an empty --text", "explain --text '' -m model", 2, "text 1 is empty"),
    Shell("an empty pair", "predict 'a good film' --pair '' -m model", 2, "empty"),
    Shell("fewer pairs than texts", "predict a b --pair c -m model", 2, "expected one --pair for each of the 2 texts"),
    Shell("more pairs than texts", "predict a --pair b --pair c -m model", 2, "expected one --pair for each"),
    Shell("pairs of nothing", "predict --pair b -m model", 2, "TEXT"),
    Shell("--pair and --tab-pairs", "predict a --pair b --tab-pairs -m model", 2, "exclude each other"),
    Shell("--tab-pairs with a text", "predict 'a good film' --tab-pairs -m model", 2, "--tab-pairs"),
    Shell("--pair with a file", "predict lines.txt --pair b -m model", 2, "--tab-pairs", {"lines.txt": "a\n"}),
    Shell("stdin twice", "predict - - -m model", 2, "stdin can be read only once", stdin=b"a\n"),
    Shell("a text and a data set", "predict a --data reviews.csv -m model", 2, "exclude each other"),
    Shell("columns without a data set", "predict a --text-column text -m model", 2, "--data"),
    Shell("a limit without a data set", "explain a --limit 3 -m model", 2, "--limit is for data sets"),
    Shell("a split without a data set", "explain a --split test -m model", 2, "--split is for data sets"),
    Shell("a report without a data set", "predict a --report -m model", 2, "--report"),
    # Words that look like paths.
    Shell("a table as TEXT", "explain reviews.csv -m model", 2, "--data reviews.csv"),
    Shell("a table that is not there as TEXT", "explain revews.csv -m model", 2, ["'revews.csv'", "--text"]),
    Shell("a path that is not there", "explain data/reviews -m model", 2, ["'data/reviews'", "--text"]),
    Shell("a text file that is not there", "explain reviews.txt -m model", 2, ["'reviews.txt'", "--text"]),
    Shell("a home that is not there", "explain '~nobody/reviews.txt' -m model", 2, "--text"),
    Shell("a folder as TEXT", "explain ./model", 2, ["folder", "--text"]),
    Shell("a folder without a slash as TEXT", "explain model -m model -f json", 0, texts=["model"]),
    Shell("a symlink loop as TEXT", "explain loop.txt -m model", 2, "'loop.txt'", {"loop.txt": link("loop.txt")}),
    Shell("a dangling symlink as TEXT", "explain x.txt -m model", 2, "'x.txt'", {"x.txt": link("nowhere")}),
    Shell("an archive as TEXT", "explain x.zip -m model", 2, "ZIP archive", {"x.zip": zipped("x.txt", "a good film\n")}),
    Shell("a compressed file as TEXT", "explain x.txt.gz -m model", 2, "gunzip", {"x.txt.gz": gzip.compress(b"a\n")}),
    Shell("a table in a spreadsheet as TEXT", "explain x.xlsx -m model", 2, "export the sheet", {"x.xlsx": zipped("xl/a.xml", "<a/>")}),
    Shell("a PDF as TEXT", "explain x.pdf -m model", 2, "a PDF", {"x.pdf": b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n"}),
    Shell("JSON as TEXT", "explain x.json -m model", 2, "json", {"x.json": '{"text": "a good film"}\n'}),
    Shell("a model's weights as TEXT", "explain model/model.safetensors -m model", 2, "model.safetensors"),
    Shell("a path as a text", "explain --text reviews.csv -m model -f json", 0, texts=["reviews.csv"]),
    Shell("a text with a slash", "explain 'good and/or bad' -m model -f json", 0, texts=["good and/or bad"]),
    Shell("a rating as a text", "explain '9 / 10' -m model -f json", 0, texts=["9 / 10"]),
    Shell("a dash as a text", "explain --text - -m model -f json", 0, texts=["-"]),
    Shell("a text like an option", "explain -m model -f json -- --bad", 0, texts=["--bad"]),
    Shell("a name of a file too long for any", f"explain {'a' * 5000} -m model -f json", 0, texts=["a" * 5000]),
    # Characters.
    Shell("U+2028 and U+0085", "explain 'a\u2028b\u0085c' -m model -f json", 0, texts=["a\u2028b\u0085c"]),
    Shell("control characters", "explain 'a\x07b \x1b[31mc' -m model -f json", 0, texts=["a\x07b \x1b[31mc"]),
    Shell("control characters at a terminal", "explain 'a\x07b \x1b[31mc' -m model", 0, ["␛", "␇"]),
    Shell("control characters in a prediction", "predict 'a\x07b \x1b[31mc' -m model", 0, "␛[31mc"),
    Shell("right to left", "explain 'שלום good' -m model -f json", 0, texts=["שלום good"]),
    Shell("an override of direction", "explain 'a \u202egood' -m model -f json", 0, texts=["a \u202egood"]),
    Shell("joined emoji", "explain 'good 👩‍👩‍👧‍👦 film' -m model -f json", 0, texts=["good 👩‍👩‍👧‍👦 film"]),
    Shell("combining marks", f"explain 'a{chr(0x301) * 300} film' -m model -f json", 0, texts=["a" + "\u0301" * 300 + " film"]),
    Shell("a lone surrogate", "explain 'a \udcff film' -m model -f json", 0, texts=["a \udcff film"]),
    Shell("markup", "predict '[bold]good[/bold] <b>&amp;' -m model", 0, "[bold]good[/bold] <b>&amp;"),
    Shell("nothing but marks that go", "explain '\u200b\u200d' -m model", 2, "text 1"),
    Shell("nothing but unknown words", "explain '中文' -m model -f json", 0, texts=["中文"]),
    Shell("a word of 100 000 letters", f"predict {'ab' * 50_000} -m model -f json", 0, texts=["ab" * 50_000]),
    Shell("three hundred texts", f"predict {'a ' * 300} -m model -f json", 0, texts=["a"] * 300),
    # Lines.
    Shell("empty stdin", "predict - -m model", 0, "there is no text in stdin", stdin=b""),
    Shell("blank stdin", "predict - -m model -f json", 0, "blank", stdin=b"\n \n\n", texts=[]),
    Shell("an empty file", "explain x.txt -m model", 0, "there is no text in", {"x.txt": ""}),
    Shell("blank lines", "predict - -m model -f json", 0, "blank", stdin=b"a good film\n\n\na bad film\n\n", texts=TWO),
    Shell("blank lines explained", "explain - -m model -f json", 0, "blank", stdin=b"\na good film\n\na bad film", texts=TWO),
    Shell("a byte order mark", "predict - -m model -f json", 0, stdin=b"\xef\xbb\xbfa good film\n", texts=["a good film"]),
    Shell("CRLF", "predict - -m model -f json", 0, stdin=b"a good film\r\na bad film\r\n", texts=TWO),
    Shell("only CR", "predict - -m model -f json", 0, stdin=b"a good film\ra bad film", texts=["a good film\ra bad film"]),
    Shell("no end of line at the end", "predict - -m model -f json", 0, stdin=b"a good film\na bad film", texts=TWO),
    Shell("a line of Latin-1", "predict - -m model -f json", 3, ["line 2", "UTF-8"], stdin=b"a good film\ncaf\xe9\na bad film\n", texts=TWO),
    Shell("a line of Latin-1 explained", "explain - -m model -f json", 3, ["line 1", "UTF-8"], stdin=b"caf\xe9\na good film\n", texts=["a good film"]),
    Shell("nothing but Latin-1", "predict - -m model -f json", 3, "UTF-8", stdin=b"caf\xe9\n", texts=[]),
    Shell("UTF-16 lines", "predict - -m model -f json", 3, "UTF-8", stdin="a good film\n".encode("utf-16"), texts=[]),
    Shell("UTF-32 lines", "predict - -m model -f json", 3, "UTF-8", stdin="a good film\n".encode("utf-32"), texts=[]),
    Shell("NUL bytes", "predict - -m model -f json", 0, stdin=b"a\0good film\n", texts=["a\0good film"]),
    Shell("pairs of tabs, one without", "predict - --tab-pairs -m model -f json", 3, ["line 2", "one tab"], stdin=b"a\tb\nc\n", texts=[("a", "b")]),
    Shell("pairs of tabs, one with two", "predict - --tab-pairs -m model -f json", 3, "one tab", stdin=b"a\tb\nc\td\te\n", texts=[("a", "b")]),
    Shell("a pair with an empty part", "predict - --tab-pairs -m model -f json", 3, "line 2", stdin=b"a\tb\n\tc\n", texts=[("a", "b")]),
    Shell("a TSV of pairs", "predict x.tsv --tab-pairs -m model -f json", 0, files={"x.tsv": "a\tb\n"}, texts=[("a", "b")]),
    Shell("a line of 200 000 letters", "predict - -m model -f json", 0, stdin=b"a" * 200_000 + b"\n", texts=["a" * 200_000]),
    # Tables that cannot be read.
    Shell("a table that is not there", "predict --data revews.csv -m model", 1, "'revews.csv'"),
    Shell("a data set of no such name", "predict --data sst22 -m model", 2, "did you mean 'sst2'"),
    Shell("a data set of an empty name", "predict --data '' -m model", 2, "known: sst2"),
    Shell("a folder without tables", "predict --data model -m model", 1, "'model'"),
    Shell("an empty folder as data", "predict --data empty -m model", 1, "'empty'", {"empty": folder}),
    Shell("a folder with the name of a table", "predict --data x.csv -m model", 1, "'x.csv'", {"x.csv": folder}),
    Shell("a pipe with the name of a table", "predict --data x.csv -m model", 1, "x.csv", {"x.csv": os.mkfifo}),
    Shell("a symlink loop as data", "predict --data x.csv -m model", 1, "'x.csv'", {"x.csv": link("x.csv")}),
    Shell("a dangling symlink as data", "predict --data x.csv -m model", 1, "'x.csv'", {"x.csv": link("nowhere.csv")}),
    Shell("a table of another kind", "predict --data x.txt -m model", 2, ".csv", {"x.txt": GOOD}),
    Shell("a spreadsheet", "predict --data x.xlsx -m model", 2, ".csv", {"x.xlsx": zipped("xl/a.xml", "<a/>")}),
    Shell("a spreadsheet named .csv", "predict --data x.csv -m model", 1, ["x.csv", ".xlsx", "export"], {"x.csv": zipped("xl/a.xml", "<a/>")}),
    Shell("an archive named .csv", "predict --data x.csv -m model", 1, ["x.csv", "ZIP archive"], {"x.csv": zipped("x.csv", GOOD)}),
    Shell("gzip named .csv", "predict --data x.csv -m model", 1, ["x.csv", "gunzip"], {"x.csv": gzip.compress(GOOD.encode())}),
    Shell("bzip2 named .csv", "predict --data x.csv -m model", 1, ["x.csv", "bunzip2"], {"x.csv": bz2.compress(GOOD.encode())}),
    Shell("a compressed table", "predict --data x.csv.gz -m model", 2, ".csv", {"x.csv.gz": gzip.compress(GOOD.encode())}),
    Shell("Parquet named .csv", "predict --data x.csv -m model", 1, ["x.csv", ".parquet"], {"x.csv": parquet(text=TWO)}),
    Shell("CSV named .parquet", "predict --data x.parquet -m model", 1, "not a Parquet file", {"x.parquet": GOOD}),
    Shell("JSON named .csv", "predict --data x.csv -m model", 1, "column", {"x.csv": '{"text": "a", "label": 1}\n'}),
    Shell("CSV named .jsonl", "predict --data x.jsonl -m model", 1, "not JSON", {"x.jsonl": GOOD}),
    Shell("CSV named .tsv", "predict --data x.tsv -m model", 1, "column", {"x.tsv": GOOD}),
    Shell("an empty .csv", "predict --data x.csv -m model", 1, "is empty", {"x.csv": ""}),
    Shell("an empty .tsv", "predict --data x.tsv -m model", 1, "is empty", {"x.tsv": ""}),
    Shell("an empty .jsonl", "predict --data x.jsonl -m model", 1, "empty", {"x.jsonl": ""}),
    Shell("an empty .parquet", "predict --data x.parquet -m model", 1, "Parquet", {"x.parquet": ""}),
    Shell("a .csv of blank lines", "predict --data x.csv -m model", 1, "is empty", {"x.csv": "\n\n\n"}),
    Shell("a .csv of one byte order mark", "predict --data x.csv -m model", 1, "is empty", {"x.csv": b"\xef\xbb\xbf"}),
    Shell("a header only, .csv", "predict --data x.csv -m model", 1, "no rows", {"x.csv": "text,label\n"}),
    Shell("a header only, .tsv", "explain --data x.tsv -m model", 1, "no rows", {"x.tsv": "text\tlabel\n"}),
    Shell("columns only, .parquet", "evaluate --data x.parquet -m model", 1, "no rows", {"x.parquet": parquet(text=[], label=[])}),
    Shell("Latin-1 table", "predict --data x.csv -m model", 1, ["line 2", "UTF-8"], {"x.csv": "text\ncafé\n".encode("latin-1")}),
    Shell("UTF-16 table", "predict --data x.csv -m model", 1, ["UTF-16", "UTF-8"], {"x.csv": GOOD.encode("utf-16")}),
    Shell("UTF-16 JSON lines", "predict --data x.jsonl -m model", 1, ["UTF-16", "UTF-8"], {"x.jsonl": '{"text": "a"}\n'.encode("utf-16")}),
    Shell("Parquet cut short", "predict --data x.parquet -m model", 1, "not a Parquet file", {"x.parquet": cut(parquet(text=TWO * 100), 300)}),
    Shell("CSV cut in a quote", "predict --data x.csv -m model", 1, ["line 2", "not CSV"], {"x.csv": 'text,label\n"a good film,positive\n'}),
    Shell("a quote in the middle of a cell", "predict --data x.csv -m model", 1, ["line 2", "not CSV"], {"x.csv": 'text,label\n"a "good" film",positive\n'}),
    Shell("a row with too few cells", "predict --data x.csv -m model", 1, ["line 3", "expected 2 cells"], {"x.csv": GOOD.replace("film,negative", "film")}),
    Shell("a comma without quotes", "predict --data x.csv -m model", 1, ["line 2", "found 3"], {"x.csv": "text,label\na good, long film,positive\n"}),
    Shell("semicolons", "predict --data x.csv -m model", 1, "column", {"x.csv": GOOD.replace(",", ";")}),
    Shell("JSON cut short", "predict --data x.jsonl -m model", 1, ["line 2", "not JSON"], {"x.jsonl": '{"text": "a"}\n{"text": "b'}),
    Shell("a JSON array", "predict --data x.jsonl -m model", 1, "found list", {"x.jsonl": '[{"text": "a"}, {"text": "b"}]\n'}),
    Shell("JSON scalars", "predict --data x.jsonl -m model", 1, "found str", {"x.jsonl": '"a good film"\n'}),
    Shell("JSON over many lines", "predict --data x.jsonl -m model", 1, "one JSON object a line", {"x.jsonl": '{\n "text": "a"\n}\n'}),
    Shell("JSON nested too deep", "predict --data x.jsonl -m model", 1, "nested too deeply", {"x.jsonl": '{"text": ' + "[" * 100_000 + "\n"}),
    Shell("JSON with a number as text", "predict --data x.jsonl -m model", 1, ["line 1", "must be a text"], {"x.jsonl": '{"text": 3}\n'}),
    Shell("JSON with null as text", "predict --data x.jsonl -m model", 3, "row 2: it has no text", {"x.jsonl": '{"text": "a"}\n{"text": null}\n'}),
    Shell("JSON with a nested text", "predict --data x.jsonl -m model", 1, "must be a text", {"x.jsonl": '{"text": {"en": "a"}}\n'}),
    Shell("JSON without the text", "predict --data x.jsonl -m model", 3, "row 2: it has no text", {"x.jsonl": '{"text": "a"}\n{"txt": "b"}\n'}),
    Shell("JSON with a key twice", "predict --data x.jsonl -m model", 1, ["line 1", "'text'", "twice"], {"x.jsonl": '{"text": "a", "text": "b"}\n'}),
    Shell("JSON with NaN as label", "predict --data x.jsonl -m model -f json", 0, texts=["a"], files={"x.jsonl": '{"text": "a", "label": NaN}\n'}),
    Shell("JSON with a list as label", "predict --data x.jsonl --report -m model", 2, "multi_label_classification", {"x.jsonl": '{"text": "a", "label": [1, 2]}\n'}),
    Shell("JSON with two thousand names", "predict --data x.jsonl -m model", 1, "1000", {"x.jsonl": json.dumps({f"c{i}": 1 for i in range(2000)}) + "\n"}),
    Shell("an empty text in a table", "predict --data x.csv -m model", 3, ["row 2: it has no text", "1 of 2 rows failed"], {"x.csv": "text,label\na,positive\n,negative\n"}),
    Shell("an empty label in a table", "predict --data x.csv -m model -f json", 0, texts=["a good film"], files={"x.csv": "text,label\na good film,\n"}),
    Shell("an empty label in a table that is scored", "predict --data x.csv -m model --report", 1, ["line 2", "label"], {"x.csv": "text,label\na good film,\n"}),
    Shell("an empty text in a table that is judged", "evaluate --data x.csv -m model", 1, ["line 3", "empty"], {"x.csv": "text,label\na,positive\n,negative\n"}),
    Shell("a lone surrogate in a table", "predict --data x.jsonl -m model", 1, "surrogate", {"x.jsonl": '{"text": "a \\ud800"}\n'}),
    Shell("Parquet with lists", "predict --data x.parquet -m model", 1, ["row 1", "must be a text"], {"x.parquet": parquet(text=[["a", "b"]])}),
    Shell("Parquet with structs", "predict --data x.parquet -m model", 1, ["row 1", "must be a text"], {"x.parquet": parquet(text=[{"en": "a"}])}),
    Shell("Parquet with bytes", "predict --data x.parquet -m model", 1, ["row 1", "must be a text"], {"x.parquet": parquet(text=[b"a"])}),
    Shell("Parquet with numbers", "predict --data x.parquet -m model", 1, ["row 1", "must be a text"], {"x.parquet": parquet(text=[1.5])}),
    Shell("Parquet with a hole", "predict --data x.parquet -m model", 3, "row 2: it has no text", {"x.parquet": parquet(text=["a", None])}),
    Shell("Parquet with days as labels", "predict --data x.parquet -m model", 1, ["row 1", "label"], {"x.parquet": lambda path: parquet(text=["a"], label=[__import__("datetime").date(2020, 1, 1)])(path)}),
    # Columns.
    Shell("no column for the text", "predict --data x.csv -m model", 1, ["no column", "found a, b"], {"x.csv": "a,b\n1,2\n"}),
    Shell("no such text column", "predict --data reviews.csv --text-column body -m model", 1, ["'body'", "found text, label"]),
    Shell("no such label column", "predict --data reviews.csv --label-column stars -m model", 1, ["'stars'", "found text, label"]),
    Shell("no such pair column", "predict --data reviews.csv --pair-column second -m model", 1, ["'second'", "found text, label"]),
    Shell("no such text column to explain", "explain --data reviews.csv --text-column body -m model", 1, ["'body'", "found text, label"]),
    Shell("an empty name of a column", "predict --data reviews.csv --text-column '' -m model", 1, "no column ''"),
    Shell("the label as the text", "predict --data reviews.csv --text-column label -m model -f json", 0, texts=["positive", "negative"]),
    Shell("two columns of one name", "predict --data x.csv -m model", 1, "2 columns 'text'", {"x.csv": "text,text\na,b\n"}),
    Shell("two columns but for their case", "predict --data x.csv -m model -f json", 0, files={"x.csv": "Text,text\nb,a good film\n"}, texts=["a good film"]),
    Shell("two columns but for their case, neither meant", "predict --data x.csv -m model", 1, "2 columns", {"x.csv": "Text,TEXT\na,b\n"}),
    Shell("a header in capitals", "predict --data x.csv -m model -f json", 0, files={"x.csv": "TEXT,LABEL\na good film,positive\n"}, texts=["a good film"]),
    Shell("blanks about the names of columns", "predict --data x.csv -m model -f json", 0, files={"x.csv": " text , label \na good film,positive\n"}, texts=["a good film"]),
    Shell("a thousand and one columns", "predict --data x.csv -m model -f json", 0, files={"x.csv": WIDE}, texts=["a good film"]),
    Shell("a table without a header", "predict --data x.csv -m model", 1, "no column", {"x.csv": "a good film,positive\na bad film,negative\n"}),
    # Tables that are odd and good.
    Shell("a table with a byte order mark", "predict --data x.csv -m model -f json", 0, files={"x.csv": GOOD.encode("utf-8-sig")}, texts=TWO),
    Shell("a table with CRLF", "predict --data x.csv -m model -f json", 0, files={"x.csv": GOOD.replace("\n", "\r\n").encode()}, texts=TWO),
    Shell("a table with CR", "predict --data x.csv -m model -f json", 0, files={"x.csv": GOOD.replace("\n", "\r").encode()}, texts=TWO),
    Shell("a table with blank lines", "predict --data x.csv -m model -f json", 0, files={"x.csv": GOOD.replace("\n", "\n\n")}, texts=TWO),
    Shell("a suffix in capitals", "predict --data X.CSV -m model -f json", 0, files={"X.CSV": GOOD}, texts=TWO),
    Shell("a line break in a cell", "predict --data x.csv -m model -f json", 0, files={"x.csv": 'text\n"a good\nfilm"\n'}, texts=["a good\nfilm"]),
    Shell("quotes in a cell", "predict --data x.csv -m model -f json", 0, files={"x.csv": 'text\n"a ""good"" film"\n'}, texts=['a "good" film']),
    Shell("a quote in a TSV", "predict --data x.tsv -m model -f json", 0, files={"x.tsv": 'text\n"a good film\n'}, texts=['"a good film']),
    Shell("U+2028 in a table", "predict --data x.csv -m model -f json", 0, files={"x.csv": "text\na\u2028b\n"}, texts=["a\u2028b"]),
    Shell("NUL in a table", "predict --data x.csv -m model -f json", 0, files={"x.csv": b"text\na\0b\n"}, texts=["a\0b"]),
    Shell("no label at all", "predict --data x.csv -m model -f json", 0, files={"x.csv": "text\na good film\n"}, texts=["a good film"]),
    Shell("no label at all to explain", "explain --data x.csv -m model -f json", 0, files={"x.csv": "text\na good film\n"}, texts=["a good film"]),
    Shell("pairs", "predict --data x.csv -m model -f json", 0, files={"x.csv": PAIR}, texts=[("a good film", "a bad film")]),
    Shell("a limit above the rows", "predict --data reviews.csv --limit 99 -m model -f json", 0, texts=TWO),
    Shell("a limit", "explain --data reviews.csv --limit 1 -m model -f json", 0, texts=TWO[:1]),
    Shell("a name with blanks", "predict --data 'my reviews.csv' -m model -f json", 0, files={"my reviews.csv": GOOD}, texts=TWO),
    Shell("a text of 250 000 letters in a table", "predict --data x.csv -m model -f json", 0, files={"x.csv": "text\n" + "good " * 50_000 + "\n"}, texts=["good " * 50_000]),
    Shell("large text in Parquet", "predict --data x.parquet -m model -f json", 0, files={"x.parquet": lambda path: parquet(text=__import__("pyarrow").array(TWO, "large_string"))(path)}, texts=TWO),
    Shell("a dictionary in Parquet", "predict --data x.parquet -m model -f json", 0, files={"x.parquet": lambda path: parquet(text=__import__("pyarrow").array(TWO).dictionary_encode())(path)}, texts=TWO),
    Shell("labels as 1.0 and 0.0", "predict --data x.csv -m model -f json", 0, files={"x.csv": "text,label\na good film,1.0\na bad film,0.0\n"}, texts=TWO),
    Shell("labels in capitals", "predict --data x.csv -m model -f json", 0, files={"x.csv": "text,label\na good film,POSITIVE\na bad film, Negative \n"}, texts=TWO),
    # Labels.
    Shell("unknown labels", "predict --data x.csv --report -m model", 2, ["labels of x (bad, good)", "--label-map bad="], {"x.csv": "text,label\na,good\nb,bad\n"}),
    Shell("unknown labels that nobody needs", "predict --data x.csv -m model -f json", 0, "labels of x are not those of the model", {"x.csv": "text,label\na good film,good\n"}, texts=["a good film"]),
    Shell("one unknown label", "predict --data x.csv --report -m model", 2, "--label-map", {"x.csv": GOOD + "c,mixed\n"}),
    Shell("labels from 1", "predict --data x.csv --report -m model", 2, "--label-map", {"x.csv": "text,label\na,1\nb,2\n"}),
    Shell("labels below 0", "predict --data x.csv --report -m model", 2, "--label-map", {"x.csv": "text,label\na,-1\nb,1\n"}),
    Shell("labels of mixed kinds", "predict --data x.jsonl --report -m model", 2, "--label-map", {"x.jsonl": '{"text": "a", "label": 1}\n{"text": "b", "label": "positive"}\n'}),
    Shell("labels that are no whole numbers", "predict --data x.jsonl --report -m model", 2, "--label-map 0.5=", {"x.jsonl": '{"text": "a", "label": 0.5}\n'}),
    Shell("truth values as labels", "predict --data x.jsonl --report -m model", 2, "--label-map", {"x.jsonl": '{"text": "a", "label": true}\n{"text": "b", "label": false}\n'}),
    Shell("more labels than the model has", "predict --data x.csv --report -m model", 2, "--label-map", {"x.csv": "text,label\na,0\nb,1\nc,2\n"}),
    Shell("unknown labels of an evaluation", "evaluate --data x.csv -m model", 2, "--label-map", {"x.csv": "text,label\na,good\nb,bad\n"}),
    Shell("a report without labels", "predict --data x.csv --report -m model", 2, "labels", {"x.csv": "text\na\n"}),
    Shell("a map of half a label", "predict --data reviews.csv --label-map positive -m model", 2, "LABEL=MODEL_LABEL"),
    Shell("a map that collides with itself", "predict --data reviews.csv --label-map positive=0,positive=1 -m model", 2, "'positive' twice"),
    Shell("a map from no label", "predict --data reviews.csv --label-map good=positive -m model", 2, "'good'"),
    Shell("a map to no label", "predict --data reviews.csv --label-map positive=good -m model", 2, "'good'"),
    Shell("a map without data", "predict a --label-map a=b -m model", 2, "--label-map"),
    Shell("no such split", "predict --data reviews.csv --split test -m model", 2, "'test'"),
    Shell("a folder for a table", "predict --data reviews.csv --data-dir . -m model", 2, "data_dir"),
    Shell("two files for a split", "predict --data two -m model", 2, "two files", {"two": lambda path: [path.mkdir(), (path / "train.csv").write_text(GOOD), (path / "train.tsv").write_text("text\na\n")]}),
    Shell("splits with other labels", "predict --data two -m model", 1, "no label in common", {"two": lambda path: [path.mkdir(), (path / "train.csv").write_text(GOOD), (path / "dev.csv").write_text("text,label\na,x\n")]}),
    # Numbers out of range.
    Shell("a limit of 0", "predict --data reviews.csv --limit 0 -m model", 2, "--limit"),
    Shell("a limit below 0", "explain --data reviews.csv --limit -1 -m model", 2, "--limit"),
    Shell("a limit that is a word", "explain --data reviews.csv --limit all -m model", 2, "--limit"),
    Shell("a limit with a fraction", "explain --data reviews.csv --limit 1.5 -m model", 2, "--limit"),
    Shell("a batch of 0", "explain a --batch-size 0 -m model", 2, "--batch-size"),
    Shell("a huge batch", f"predict a --batch-size {10**30} -m model -f json", 0, texts=["a"]),
    Shell("a top of 0", "explain a --top 0 -m model", 2, "--top"),
    Shell("a huge top", f"explain a --top {10**30} -m model -f json", 0, texts=["a"]),
    Shell("a maximum of 0 tokens", "predict a --max-length 0 -m model", 2, "--max-length"),
    Shell("a maximum without room", "predict a --max-length 2 -m model", 2, "max_length"),
    Shell("a maximum above the positions", "predict a --max-length 100000 -m model", 2, "max_length must be at most 40"),
    Shell("a seed below 0", "evaluate --data reviews.csv --seed -1 -m model", 2, "--seed"),
    # Methods, metrics, targets, levels, formats.
    Shell("no such method", "explain a --method atnlrp -m model", 2, "did you mean 'attnlrp'"),
    Shell("an empty method", "explain a --method '' -m model", 2, "at least one method"),
    Shell("a method twice", "explain a --method gi,gi -m model", 2, "each method once"),
    Shell("a method with an unknown option", "explain a --method gi:redction=sum -m model", 2, "'redction'"),
    Shell("a method with an unknown value", "explain a --method gi:reduction=summ -m model", 2, "did you mean 'sum'"),
    Shell(
        "a layer that the model has not",
        "explain a --method attention:layer=9 -m model",
        2,
        "layer of attention from 0 to",
    ),
    Shell(
        "parts of a text that take more than is granted",
        "explain a --method decompx:memory=1e-9 -m model",
        2,
        ("include_biases=false", "max_length"),
    ),
    Shell(
        "a reference that is nearly a name",
        "explain a --method contrast_cat:baseline=maks -m model",
        2,
        "did you mean 'mask'",
    ),
    Shell("a baseline that is a slip", "explain a --method deeplift:baseline=maks -m model", 2, "did you mean 'mask'"),
    Shell("a baseline with a comma", "explain a --method 'integrated_gradients:n_steps=1,baseline=\"b, c\"' -m model -f json", 0, texts=["a"]),
    Shell("a baseline with a comma in no quotation marks", "explain a --method 'deeplift:baseline=b, c' -m model", 2, "unknown method 'c'"),
    Shell("a baseline of no token", "explain a --method deeplift:baseline=\u200b -m model", 2, "at least one token"),
    Shell("no steps", "explain a --method integrated_gradients:n_steps=0 -m model", 2, ["n_steps", "at least 1"]),
    Shell("noise below zero", "explain a --method smoothgrad:noise=-1 -m model", 2, "noise"),
    Shell("another rule of an integral", "explain a --method integrated_gradients:rule=simpson -m model", 2, "unknown rule of integrated_gradients 'simpson'"),
    Shell("a method with a value out of range", "explain a --method lrp:alpha=2 -m model", 2, "alpha"),
    Shell("a method with NaN", "explain a --method lrp:alpha=nan -m model", 2, "alpha"),
    Shell("an epsilon below 0", "explain a --method epsilon:epsilon=-1 -m model", 2, "of at least 0"),
    Shell("an alpha without a beta", "explain a --method alpha_beta:alpha=0.5 -m model", 2, "of at least 1"),
    Shell("half a layer more", "explain a --method mixed_lrp:below=1.5 -m model", 2, "a number of layers"),
    Shell("more layers than there are", "explain a --method mixed_lrp:below=99 -m model -f json", 0, texts=["a"]),
    Shell("a softmax without heat", "explain a --method gim:temperature=0 -m model", 2, "temperature"),
    Shell("a method without a value", "explain a --method gi:reduction -m model", 2, "reduction"),
    Shell("a method in capitals with blanks", "explain a --method ' GI ' -m model -f json", 0, texts=["a"]),
    Shell("no such metric", "evaluate --data reviews.csv --metric aopcc -m model", 2, "'aopcc'"),
    Shell("no such perturbation", "evaluate --data reviews.csv --metric aopc@burn -m model", 2, "burn"),
    Shell("an empty metric", "evaluate --data reviews.csv --metric '' -m model", 2, "metric"),
    Shell("plausibility without annotations", "evaluate --data reviews.csv --metric plausibility -m model", 2, "annotations"),
    Shell("no such level", "explain a --level letter -m model", 2, "'letter' is not one of"),
    Shell("no such format", "explain a --format yaml -m model", 2, "'yaml'"),
    Shell("a format of explanations for predictions", "predict a --format latex -m model", 2, "'latex'"),
    Shell("no such suffix", "explain a -o why.htlm -m model", 2, ["'why.htlm'", ".html"]),
    Shell("no such suffix for predictions", "predict a -o why.html -m model", 2, "'why.html'"),
    Shell("a format against the suffix", "explain a -f json -o why.html -m model", 2, "contradict"),
    Shell("Parquet at a terminal", "predict a -f parquet -m model", 2, "is for files"),
    Shell("top in HTML", "explain a --top 2 -f html -m model", 2, "--top"),
    Shell("no such target", "explain a --target good -m model", 2, "unknown label 'good'"),
    Shell("a target out of range", "explain a --target 2 -m model", 2, "from 0 to 1"),
    Shell("a target below 0", "explain a --target -1 -m model", 2, "from 0 to 1"),
    Shell("an empty target", "explain a --target '' -m model", 2, "unknown label ''"),
    Shell("a target of nothing but digits", f"explain a --target {'9' * 5000} -m model", 2, "unknown label"),
    Shell("a contrast with itself", "explain a --contrast positive positive -m model", 2, "two different classes"),
    Shell("a contrast with itself by its index", "explain a --contrast positive 1 -m model", 2, "two different classes"),
    Shell("every class and a contrast", "explain a --target all --contrast 0 1 -m model", 2, "exclude each other"),
    Shell("every class of two texts", "explain 'a b' b --target all -m model -f json", 0, texts=["a b", "a b", "b", "b"]),
    Shell("every class is judged of no text", "evaluate --data reviews.csv --target ALL -m model", 2, "expected one class, found 'ALL'"),
    Shell("the entropy of every class", "explain a --target all --quantity entropy -m model", 2, "leave target='all' out"),
    Shell("the margin of a contrast", "explain a --contrast 0 1 --quantity margin -m model", 2, ("no margin", "quantity='logit'")),
    Shell("a probability by a rule for logits", "explain a --method lrp --quantity probability -m model", 2, ("no sum", "attnlrp")),
    Shell("no such quantity", "explain a --quantity odds -m model", 2, ("odds", "probability")),
    Shell("a target and a contrast", "explain a --target 0 --contrast 0 1 -m model", 2, "exclude each other"),
    Shell("no such device", "explain a --device moon -m model", 2, "'moon'"),
    Shell("a device that is not here", "explain a --device cuda:99 -m model", 2, "'cuda:99'"),
    Shell("the device meta", "explain a --device meta -m model", 2, "meta"),
    Shell("no such dtype", "explain a --dtype float31 -m model", 2, "'float31'"),
    Shell("a dtype of whole numbers", "explain a --dtype int8 -m model", 2, "'int8'"),
    Shell("a name of torch that is no dtype", "explain a --dtype nn -m model", 2, "'nn'"),
    # Places to write to.
    Shell("no folder for the output", "explain a -o no/why.html -m model", 1, "there is no folder 'no'"),
    Shell("a folder as output", "explain a -o model -m model", 1, "it is a folder"),
    Shell("a folder with a suffix as output", "explain a -o x.html -m model", 1, "it is a folder", {"x.html": folder}),
    Shell("a file in place of the folder", "explain a -o reviews.csv/why.html -m model", 1, "reviews.csv"),
    Shell("a name too long", f"explain a -o {'a' * 300}.html -m model", 1, "too long"),
    Shell("a symlink loop as output", "explain a -o x.html -m model", 1, "x.html", {"x.html": link("x.html")}),
    Shell("a full disk", "explain a -f html -o /dev/full -m model", 1, ["/dev/full", "No space left"]),
    Shell("a full disk for predictions", "predict a -f json -o /dev/full -m model", 1, ["/dev/full", "No space left"]),
    Shell("a full disk for Parquet", "predict a -f parquet -o /dev/full -m model", 1, ["/dev/full", "No space left"]),
    Shell("a system folder that takes no file", "explain a -o /proc/why.html -m model", 1, "/proc/why.html"),
    Shell("an empty output", "explain a -o '' -m model", 1, "folder"),
    Shell("an error leaves the old file", "explain a --target good -o old.html -m model", 2, "'good'", {"old.html": "old"}),
    Shell("results over the data", "evaluate --data reviews.csv -o reviews.csv -m model", 2, "write over the file that is read"),
    Shell("predictions over a split", "predict --data d --split test -o d/test.csv -m model", 2, "write over", {"d": lambda path: [path.mkdir(), (path / "test.csv").write_text("text\na good film\n")]}),
    Shell("predictions over the data", "predict --data reviews.csv -o reviews.csv -m model", 2, "write over"),
    Shell("predictions over the lines", "predict lines.csv.txt -o ./lines.csv.txt -m model", 2, "write over", {"lines.csv.txt": "a good film\n"}),
    Shell("explanations over the data", "explain --data x.jsonl -o x.jsonl -m model", 2, "write over", {"x.jsonl": '{"text": "a"}\n'}),
    Shell("a folder of results that is a file", "evaluate --data reviews.csv -o results -m model", 2, "found the file", {"results": "mine"}),
    Shell("a folder of results that holds others", "evaluate --data reviews.csv -o other -m model", 2, "no evaluation wrote", {"other": lambda path: [path.mkdir(), (path / "thesis.txt").write_text("x")]}),
    # Models.
    Shell("no such folder", "predict a -m ./modell", 1, "there is no folder './modell'"),
    Shell("almost builtin", "predict a -m biultin", 1, "did you mean 'builtin'"),
    Shell("an empty model", "predict a -m ''", 1, "there is no folder ''"),
    Shell("a file as model", "predict a -m model/config.json", 1, "is a file"),
    Shell("weights as model", "predict a -m model/model.safetensors", 1, "is a file"),
    Shell("an empty folder as model", "predict a -m empty", 1, "is empty", {"empty": folder}),
    Shell("a symlink loop as model", "predict a -m ./loop", 1, "./loop", {"loop": link("loop")}),
    Shell("a hub id offline", "predict a -m nobody/nothing", 1, "nobody/nothing"),
    Shell("a hub id with blanks", "predict a -m 'no body/nothing'", 1, "no body/nothing"),
    Shell("a URL", "predict a -m https://huggingface.co/a/b", 1, "https://huggingface.co/a/b"),
    Shell("no weights", "predict a -m broken", 1, "no weights", {"broken": broken_model(without("model.safetensors"))}),
    Shell("no config", "predict a -m broken", 1, "no config.json", {"broken": broken_model(without("config.json"))}),
    Shell("no tokenizer", "predict a -m broken", 1, "tokenizer", {"broken": broken_model(without("tokenizer.json", "tokenizer_config.json"))}),
    Shell("a config that is no JSON", "predict a -m broken", 1, "broken", {"broken": broken_model(holding("config.json", b"{"))}),
    Shell("an empty config", "predict a -m broken", 1, "broken", {"broken": broken_model(holding("config.json", b""))}),
    Shell("a config that is a list", "predict a -m broken", 1, "broken", {"broken": broken_model(holding("config.json", b"[]"))}),
    Shell("a config without a type", "predict a -m broken", 1, "broken", {"broken": broken_model(settings(model_type=None))}),
    Shell("a config of an unknown type", "predict a -m broken", 1, "broken", {"broken": broken_model(settings(model_type="brt"))}),
    Shell("a config of other sizes", "predict a -m broken", 1, "do not fit", {"broken": broken_model(settings(intermediate_size=48))}),
    Shell("a config with more layers", "predict a -m broken", 1, "incomplete", {"broken": broken_model(settings(num_hidden_layers=3))}),
    Shell("a config with fewer layers", "predict a -m broken", 1, ["more layers", "layer.1"], {"broken": broken_model(settings(num_hidden_layers=1))}),
    Shell("a tokenizer that is no JSON", "predict a -m broken", 1, "tokenizer", {"broken": broken_model(holding("tokenizer.json", b"{"))}),
    Shell("a tokenizer with more words", "predict great -m broken", 2, "tokenizer does not belong to this model", {"broken": broken_model(settings(vocab_size=40), weights(lambda t: t.update({"bert.embeddings.word_embeddings.weight": t["bert.embeddings.word_embeddings.weight"][:40].clone()})))}),
    Shell("weights cut short", "predict a -m broken", 1, "damaged", {"broken": broken_model(lambda model: os.truncate(model / "model.safetensors", 1000))}),
    Shell("empty weights", "predict a -m broken", 1, "damaged", {"broken": broken_model(holding("model.safetensors", b""))}),
    Shell("a pointer of Git LFS as weights", "predict a -m broken", 1, "git lfs pull", {"broken": broken_model(holding("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"))}),
    Shell("a page of HTML as weights", "predict a -m broken", 1, "damaged", {"broken": broken_model(holding("model.safetensors", b"<!doctype html><html></html>"))}),
    Shell("NaN among the weights", "predict a -m broken", 1, "finite", {"broken": broken_model(weights(lambda t: _fill(t, float("nan"))))}),
    Shell("infinite weights explained", "explain a -m broken", 1, "finite", {"broken": broken_model(weights(lambda t: _fill(t, float("inf"))))}),
    Shell("weights of DataParallel", "predict a -m broken", 1, "'module.'", {"broken": broken_model(weights(lambda t: _rename(t, "module.")))}),
    Shell("weights of a larger head", "predict a -m broken", 1, "classifier.weight", {"broken": broken_model(weights(_grow))}),
    Shell("no head", "predict a -m broken", 1, "no classification head", {"broken": broken_model(weights(lambda t: [t.pop("classifier.weight"), t.pop("classifier.bias")]))}),
    Shell("a pickle", "predict a -m broken", 1, "pickle", {"broken": broken_model(pickled)}),
    Shell("an adapter", "predict a -m broken", 1, "adapter", {"broken": broken_model(without("config.json", "model.safetensors"), holding("adapter_config.json", b"{}"))}),
    Shell("code of its own", "predict a -m broken", 1, "trust_remote_code", {"broken": broken_model(settings(model_type="mine", auto_map={"AutoConfig": "mine.Config"}))}),
    Shell("as many labels in id2label as not in the head", "predict a -m broken", 1, "classifier", {"broken": broken_model(settings(id2label={"0": "a", "1": "b", "2": "c"}))}),
    Shell("an audit of no model", "audit ./nowhere", 1, "there is no folder './nowhere'"),
    Shell("an audit of an empty text", "audit model --text ''", 2, "empty"),
    Shell("an audit with no such method", "audit model --method gx", 2, "'gx'"),
    Shell("a model as an option of audit", "audit --model model", 2, "--model"),
    # flip and interactions
    Shell("a flip of nothing", "flip", 2, "TEXT"),
    Shell("a flip of an empty text", "flip '' -m model", 2, "empty"),
    Shell("a flip by replacement without words", "flip a -m model --by replacement", 2, "--synonyms FILE"),
    Shell("a flip by removal with words", "flip a -m model --by removal --synonyms words.txt", 2, "leave them out", {"words.txt": b"a: b\n"}),
    Shell("a flip with no such words", "flip a -m model --synonyms nowhere.txt", 2, "cannot read 'nowhere.txt'"),
    Shell("a flip with empty words", "flip a -m model --synonyms words.txt", 2, "at least one word", {"words.txt": b"\n\n"}),
    Shell("a flip with a line that says nothing", "flip a -m model --synonyms words.txt", 2, "in line 2", {"words.txt": b"a: b\nfilm\n"}),
    Shell("a flip with damaged JSON", "flip a -m model --synonyms words.json", 2, "no JSON", {"words.json": b'{"a": '}),
    Shell("a flip with JSON of something else", "flip a -m model --synonyms words.json", 2, "in the place of 'a', found 3", {"words.json": b'{"a": 3}'}),
    Shell("a flip with a classifier for words", "flip a -m model --masked-lm model", 1, "no head that predicts tokens"),
    Shell("a flip to no label", "flip a -m model --synonyms words.txt --to none", 2, "'none'", {"words.txt": b"a: b\n"}),
    Shell("a flip written over its words", "flip a -m model --synonyms words.json -o words.json", 2, "write over", {"words.json": b'{"a": ["b"]}'}),
    Shell("a flip with a budget below the words", "flip 'a b c' -m model --budget 2", 2, "budget above the 3 words"),
    Shell("interactions of an empty text", "interactions ' ' -m model", 2, "empty"),
    Shell("interactions of no such kind", "interactions 'a b' -m model --method lime", 2, "lime"),
    Shell("interactions with samples of what draws nothing", "interactions 'a b' -m model --method arch_detect --samples 3", 2, "draws nothing"),
    Shell("interactions of a table as a picture", "interactions 'a b' -m model -o why.png", 2, ".json"),
    # Similarities.
    Shell("a similarity of one text", "similarity a", 2, "OTHER"),
    Shell("a similarity to an empty text", "similarity 'a film' ' '", 2, "text 1 is empty"),
    Shell("a similarity by a classifier", "similarity 'a film' 'a plot' -m model", 2, "say pooling="),
    Shell("a similarity by a pooled classifier", "similarity 'a film' 'a plot' -m model --pooling mean", 0, "cosine similarity"),
    Shell("a similarity by no encoder", "similarity 'a film' 'a plot' -m ./nowhere", 1, "./nowhere"),
    Shell("a similarity with no such method", "similarity 'a film' 'a plot' -m model --pooling mean --method gx", 2, "'gx'"),
    Shell("a similarity of pairs by a method without", "similarity 'a film' 'a plot' -m model --pooling mean --method lat", 2, "lat is none"),
    Shell("a similarity in no such file", "similarity 'a film' 'a plot' -o why.doc", 2, "why.doc"),
    # Models that answer at each position.
    Shell("a word and its label", "explain 'a good film' -m ner --target good:B-LOC", 0, "good: ", {"ner": with_head(NER)}),
    Shell("a label of no word", "explain 'a good film' -m ner --target B-LOC", 3, ["unknown word of", "'B-LOC'"], {"ner": with_head(NER)}),
    Shell("a model of tokens and no target", "explain 'a good film' -m ner", 2, ["names a word and its class", "('Paris', None)"], {"ner": with_head(NER)}),
    Shell("a word that stands twice", "explain 'a good a film' -m ner --target a:O", 3, ["stands 2 times", "0, 2"], {"ner": with_head(NER)}),
    Shell("a word that one of the lines has not", "explain - -m ner --target good:O -f csv", 3, ["line 2", "unknown word of", "'good'"], {"ner": with_head(NER)}, stdin=b"a good film\na bad film\na good cast\n"),
    Shell("a label that a model of tokens has not", "explain 'a good film' -m ner --target good:B-PER", 2, "unknown label 'B-PER'", {"ner": with_head(NER)}),
    Shell("a model of tokens predicts no texts", "predict 'a good film' -m ner", 1, "expected a sequence classifier", {"ner": with_head(NER)}),
    Shell("windows of a model of tokens", "explain 'a good film' -m ner --target good --long windows", 2, "answers at each position", {"ner": with_head(NER)}),
    Shell("the start of an answer", "explain 'a film' --pair 'a good film' -m qa --target start", 0, "start: ", {"qa": with_head(QA)}),
    Shell("the middle of an answer", "explain 'a film' --pair 'a good film' -m qa --target middle", 2, "start or its end", {"qa": with_head(QA)}),
    Shell("a minimal pair", "explain 'the actors [MASK] great' -m lm --contrast were was", 0, "[MASK]: were - was", {"lm": with_head(LM)}),
    Shell("a text without a mask", "explain 'the actors were great' -m lm --target was", 3, "one mask ([MASK])", {"lm": with_head(LM)}),
    Shell("a word of several tokens in a mask", "explain 'the [MASK]' -m lm --target wonderful", 3, "9 tokens", {"lm": with_head(LM)}),
    Shell("a choice", "explain 'the film' --pair 'was good' -m choice", 0, "choice", {"choice": with_head(CHOICE)}),
    Shell("interactions with target and contrast", "interactions 'a b' -m model --target 0 --contrast 0 1", 2, "exclude"),
    # evaluate
    Shell("an evaluation of nothing", "evaluate -m model", 2, "--data or --annotations"),
    Shell("an evaluation of both", "evaluate --data reviews.csv --annotations x -m model", 2, "--data or --annotations"),
    Shell("no such annotations", "evaluate --annotations x.jsonl -m model", 1, "x.jsonl"),
    Shell("annotations that are empty", "evaluate --annotations x.jsonl -m model", 1, "x.jsonl", {"x.jsonl": ""}),
    Shell("annotations that are a table", "evaluate --annotations reviews.csv -m model", 2, "reviews.csv"),
    Shell("annotations without a rationale", "evaluate --annotations x.jsonl -m model", 1, "line 1", {"x.jsonl": '{"text": "a"}\n'}),
    Shell("explanations without a name", "evaluate --data reviews.csv --explanations x.jsonl -m model", 2, "NAME=FILE"),
    Shell("explanations that are not there", "evaluate --data reviews.csv --explanations lime=x.jsonl -m model", 2, "x.jsonl"),
    Shell("explanations that are empty", "evaluate --data reviews.csv --explanations lime=x.jsonl -m model", 2, "x.jsonl", {"x.jsonl": ""}),
    Shell("explanations of other texts", "evaluate --data reviews.csv --explanations lime=x.jsonl -m model", 2, "x.jsonl", {"x.jsonl": '{"text": "no", "words": ["no"], "scores": [1]}\n'}),
    Shell("explanations with NaN", "evaluate --data reviews.csv --explanations lime=x.jsonl -m model", 2, "x.jsonl", {"x.jsonl": '{"text": "a good film", "words": ["a", "good", "film"], "scores": [1, NaN, 0]}\n'}),
    Shell("explanations with too few scores", "evaluate --data reviews.csv --explanations lime=x.jsonl -m model", 2, "x.jsonl", {"x.jsonl": '{"text": "a good film", "words": ["a", "good", "film"], "scores": [1]}\n'}),
    Shell("explanations of one name twice", "evaluate --data reviews.csv --explanations a=x --explanations a=y -m model", 2, "'a' twice"),
    # datasets
    Shell("datasets show of no file", "datasets show x.csv", 1, "'x.csv'"),
    Shell("datasets show of an empty file", "datasets show x.csv", 1, "is empty", {"x.csv": ""}),
    Shell("datasets stats of a header", "datasets stats x.csv", 1, "no rows", {"x.csv": "text,label\n"}),
    Shell("datasets show of no split", "datasets show reviews.csv --split test", 2, "'test'"),
    Shell("datasets show of no rows", "datasets show reviews.csv --limit 0", 2, "--limit"),
    Shell("a known data set without its files", "datasets stats sst2 --data-dir empty", 1, "'empty'", {"empty": folder}),
    Shell("a known data set in no folder", "datasets stats sst2 --data-dir nowhere", 1, "'nowhere'"),
    Shell("a revision of a table", "datasets show reviews.csv --revision main", 2, "revision"),
    # convert
    Shell("nothing to convert", "convert --output-dir out", 2, "nothing to convert"),
    Shell("no place to convert to", "convert --pytorch-checkpoint-path x.bin", 2, "--output-dir", {"x.bin": b""}),
    Shell("two things to convert", "convert --pytorch-checkpoint-path a --tf-checkpoint-path b --output-dir out", 2, "exclude each other"),
    Shell("no such checkpoint", "convert --pytorch-checkpoint-path x.bin --output-dir out", 1, "x.bin"),
    Shell("an empty checkpoint", "convert --pytorch-checkpoint-path x.bin --output-dir out", 1, "x.bin", {"x.bin": b"", **FOR_CONVERSION}),
    Shell("a text as checkpoint", "convert --pytorch-checkpoint-path x.bin --output-dir out", 1, "x.bin", {"x.bin": "a good film", **FOR_CONVERSION}),
    Shell("a checkpoint without settings", "convert --pytorch-checkpoint-path x.bin --output-dir out", 1, "bert_config.json", {"x.bin": b""}),
    Shell("a checkpoint with empty settings", "convert --pytorch-checkpoint-path x.bin --output-dir out", 1, "vocab_size", {"x.bin": b"", "bert_config.json": "{}"}),
    Shell("a folder as checkpoint", "convert --pytorch-checkpoint-path model --output-dir out", 1, "model"),
    Shell("no such TensorFlow checkpoint", "convert --tf-checkpoint-path x.ckpt --output-dir out", 1, "x.ckpt"),
    Shell("a TensorFlow checkpoint cut short", "convert --tf-checkpoint-path x.ckpt --output-dir out", 1, "x.ckpt", {"x.ckpt.index": b"\0\1", "x.ckpt.data-00000-of-00001": b"", **FOR_CONVERSION}),
    # finetune
    Shell("finetune of nothing", "finetune", 2, "missing option"),
    Shell("finetune of no data set", "finetune --task sst22 --output-dir out", 2, "'sst2'"),
    Shell("finetune of no file", "finetune --task x.csv --output-dir out", 1, "'x.csv'"),
    Shell("finetune of a header", "finetune --task x.csv --output-dir out", 1, "no rows", {"x.csv": "text,label\n"}),
    Shell("finetune of one label", "finetune --task x.csv --model model --output-dir out", 2, "label", {"x.csv": "text,label\na,x\nb,x\nc,x\n"}),
    Shell("finetune without labels", "finetune --task x.csv --model model --output-dir out", 2, "label", {"x.csv": "text\na\nb\n"}),
    Shell("finetune from no model", "finetune --task x.csv --model ./nowhere --output-dir out", 1, "./nowhere", {"x.csv": GOOD * 1 + "".join(f"a film {i},{('positive', 'negative')[i % 2]}\n" for i in range(40))}),
    Shell("finetune into a file", "finetune --task reviews.csv --model model --output-dir reviews.csv", 2, "reviews.csv"),
    Shell("finetune with no epochs", "finetune --task reviews.csv --model model --output-dir out --epochs 0", 2, "epochs"),
    Shell("finetune of flags that are none", "finetune --task x.csv --label-column a,b --output-dir out", 1, ("line 3", "must be 0 or 1"), {"x.csv": "text,a,b\nx,1,0\ny,1,2\n"}),
    Shell("finetune of a flag that is not there", "finetune --task x.csv --label-column a,c --output-dir out", 1, ("'c'", "found text, a, b"), {"x.csv": "text,a,b\nx,1,0\n"}),
    Shell("finetune of some lists", "finetune --task x.csv --output-dir out", 1, ("line 3", "a list of labels in each row or in none"), {"x.csv": "text,label\nx,['a']\ny,b\n"}),
    Shell("finetune of words as numbers", "finetune --task reviews.csv --problem-type regression --output-dir out", 1, ("of train", "finite number")),
    Shell("finetune of NaN as a number", "finetune --task x.csv --problem-type regression --output-dir out", 1, ("row 2 of train", "'nan'"), {"x.csv": "text,label\nx,1.5\ny,nan\n"}),
    Shell("finetune of decimal commas", "finetune --task x.csv --problem-type regression --output-dir out", 1, "with a point", {"x.csv": 'text,label\nx,"1,5"\ny,"2"\n'}),
    Shell("finetune of one number", "finetune --task x.csv --output-dir out", 2, "two different numbers", {"x.csv": "text,label\nx,1.5\ny,1.5\n"}),
    Shell("finetune of no problem type", "finetune --task reviews.csv --problem-type multilabel --output-dir out", 2, "multi_label_classification"),
    Shell("finetune with weights of another label", "finetune --task reviews.csv --class-weights good=2 --output-dir out", 2, ("'good'", "negative")),
    Shell("finetune with weights of nothing", "finetune --task reviews.csv --class-weights heavy --output-dir out", 2, "balanced, none or A=2,B=1"),
    Shell("finetune to no repository", "finetune --task reviews.csv --push-to-hub a/b/c --output-dir out", 2, "owner/name"),
    Shell("report of lists by a model of one label", "predict --model model --data x.csv --report", 2, "several labels", {"x.csv": "text,label\nx,['negative']\n"}),
    Shell("finetune with a rate below 0", "finetune --task reviews.csv --model model --output-dir out --learning-rate -1", 2, "learning"),
    Shell("finetune with NaN as rate", "finetune --task reviews.csv --model model --output-dir out --learning-rate nan", 2, "learning"),
    Shell("finetune of other data", "finetune --task reviews.csv --data-dir nowhere --model model --output-dir out", 2, "data"),
    # study
    Shell("a study of nothing", "study -o out", 2, "CONFIG.yaml or --run"),
    Shell("a study without a place", "study x.yaml", 2, "--output"),
    Shell("no such settings", "study x.yaml -o out", 2, "x.yaml"),
    Shell("empty settings", "study x.yaml -o out", 2, "x.yaml", {"x.yaml": ""}),
    Shell("settings that are no YAML", "study x.yaml -o out", 2, "x.yaml", {"x.yaml": "a: [b\n"}),
    Shell("settings that are a list", "study x.yaml -o out", 2, "x.yaml", {"x.yaml": "- a\n"}),
    Shell("settings that run code", "study x.yaml -o out", 2, "x.yaml", {"x.yaml": "!!python/object/apply:os.system ['true']\n"}),
    Shell("an unknown setting", "study x.yaml -o out", 2, "'limt'", {"x.yaml": "runs: [{name: a, model: model, data: reviews.csv}]\nlimt: 3\n"}),
    Shell("a run without data", "study --run a=model -o out", 2, "NAME=MODEL,DATA"),
    Shell("a run of no model", "study --run a=./nowhere,reviews.csv -o out", 1, "./nowhere"),
    Shell("a run of no file", "study --run a=model,x.csv -o out", 1, "x.csv"),
    Shell("a study into a file", "study --run a=model,reviews.csv -o reviews.csv", 2, "reviews.csv"),
    # Long texts.
    Shell("no such way to read long texts", "explain a --long letters -m model", 2, "'letters' is not one of"),
    Shell("a stride without windows", "explain a --stride 3 -m model", 2, "windows"),
    Shell("a stride below 0", "explain a --long windows --stride -1 -m model", 2, "--stride"),
    Shell("a stride as long as a window", f"explain {LONG!r} --long windows --stride 40 -m model", 2, "stride"),
    Shell("windows of one token", f"explain {LONG!r} --long windows --max-length 3 --stride 0 -m model -f json", 0, texts=[LONG], approximate=True),
    Shell("windows of a short text", "explain a --long windows -m model -f json", 0, texts=["a"]),
    Shell("a long text cut", f"predict {LONG!r} -m model -f json", 0, "--long windows", texts=[LONG]),
    Shell("a long text in windows", f"predict {LONG!r} --long windows -m model -f json", 0, texts=[LONG], approximate=True),
    Shell("a word longer than a window", f"predict {'ab' * 500} --long windows -m model -f json", 0, texts=["ab" * 500], approximate=True),
    # Columns that go along.
    Shell("columns without a table", "explain a --columns id -m model", 2, "--columns"),
    Shell("no such column to go along", "explain --data reviews.csv --columns id -m model", 1, ["'id'", "found text, label"]),
    Shell("an empty column to go along", "explain --data reviews.csv --columns '' -m model -f json", 0, texts=TWO),
    Shell("a column to go along twice", "explain --data reviews.csv --columns label,label -m model -f json", 0, texts=TWO),
    Shell("a column called like a field", "explain --data x.csv --columns method -m model -f json", 0, '"data_method"', {"x.csv": "text,method\na good film,mail\n"}, texts=["a good film"]),
    Shell("columns of a known data set", "explain --data sst2 --data-dir SST2 --columns id -m model", 2, "columns", {"SST2": lambda path: [path.mkdir(), (path / "dev.tsv").write_text("sentence\tlabel\na good film\t1\n")]}),
    # Methods, levels, formats again.
    Shell("all methods", "explain a --method all -m model -f json", 0, ['"attnlrp"', '"lat"']),
    Shell("a model that nothing asks", "explain a --method lime:model=x -m model", 2, ["by=infill"]),
    Shell("all methods and one more", "explain a --method all,gi -m model", 2, "'all'"),
    Shell("sentences", "explain 'a good film. a bad film.' --level sentence --top 2 -m model", 0, "a bad film."),
    Shell("a picture at a terminal", "explain a -f png -m model", 2, "is for files"),
    Shell("a picture of too many texts", f"explain {'a ' * 21} -o x.png -m model", 2, "20"),
    Shell("a picture on a full disk", "explain a -f png -o /dev/full -m model", 1, "No space left"),
    Shell("explanations in Parquet on a full disk", "explain a -f parquet -o /dev/full -m model", 1, "No space left"),
    Shell("the input as output", "explain --data reviews.csv -o reviews.csv -m model", 2, "reviews.csv"),
    Shell("the lines as output", "explain x.txt -f json -o x.txt -m model", 2, "x.txt", {"x.txt": "a\n"}),
    Shell("the input as output by another name", "predict --data reviews.csv -o ./link.csv -m model", 2, "link.csv", {"link.csv": link("reviews.csv")}),
    Shell("an evaluation into no such format", "evaluate --data reviews.csv -o x.html -m model", 2, "x.html"),
    Shell("a report without labels of the model's", "predict --data x.csv --report -m model -f csv", 2, "--label-map", {"x.csv": "text,label\na,good\n"}),
    # Tables with several labels.
    Shell("lists of labels at a model of one", "predict --data x.jsonl --report -m model", 2, "label", {"x.jsonl": '{"text": "a", "label": ["positive", "negative"]}\n'}),
    Shell("labels some of which are lists", "predict --data x.jsonl -m model", 1, ["line 2", "label"], {"x.jsonl": '{"text": "a", "label": ["positive"]}\n{"text": "b", "label": "positive"}\n'}),
    Shell("labels in lists in lists", "predict --data x.jsonl -m model", 1, ["line 1", "label"], {"x.jsonl": '{"text": "a", "label": [["positive"]]}\n'}),
    # finetune again.
    Shell("finetune for no such problem", "finetune --task x.csv --model model --output-dir out --problem-type sorting", 2, "sorting", MANY),
    Shell("finetune for numbers that are words", "finetune --task x.csv --model model --output-dir out --max-seq-length 8 --problem-type regression", 1, "number", MANY),
    Shell("finetune with weights of no label", "finetune --task x.csv --model model --output-dir out --max-seq-length 8 --class-weights good=2", 2, "'good'", MANY),
    Shell("finetune with weights below 0", "finetune --task x.csv --model model --output-dir out --max-seq-length 8 --class-weights positive=-2", 2, "-2", MANY),
    Shell("finetune with weights that are words", "finetune --task x.csv --model model --output-dir out --max-seq-length 8 --class-weights positive=much", 2, "much", MANY),
    Shell("finetune that stops before it begins", "finetune --task x.csv --model model --output-dir out --early-stopping 0", 2, "early", MANY),
    Shell("finetune on texts longer than the model", "finetune --task x.csv --model model --output-dir out", 2, "max_seq_length of at most 40", MANY),
    Shell("finetune on one row", "finetune --task x.csv --model model --output-dir out --max-seq-length 8 --train-limit 1", 2, "train_limit", MANY),
    Shell("finetune into a folder of others", "finetune --task x.csv --model model --output-dir other --max-seq-length 8", 2, "other", {**MANY, "other": lambda path: [path.mkdir(), (path / "thesis.txt").write_text("x")]}),
]

# fmt: on


# fmt: off
PIPES: list[Shell] = [
    Shell("a reader that stops", "printf 'a good film\\n%.0s' {1..3000} | whybert predict - -m model -f json | head -1", 141, '"a good film"'),
    Shell("a reader that stops before", "whybert explain a -m model | true", 141),
    Shell("a full disk behind stdout", "whybert explain a -m model > /dev/full", 1, "error: No space left on device"),
    Shell("a full disk behind both", "whybert explain a -m model > /dev/full 2> /dev/full", 1),
    Shell("a folder as stdin", "whybert predict - -m model < .", 1, "error: "),
    Shell("stdin that is not read", "echo no | whybert predict 'a good film' -m model", 0, "a good film"),
    Shell("a file that may not be written", "touch x.html; chmod 400 x.html; whybert explain a -o x.html -m model; stat -c %a x.html", 0, "400"),
]
# fmt: on
"""Lines of bash, with `pipefail`: what is piped is done in processes of their own."""


class Unwilling:
    """Gives one text and then fails."""

    def __iter__(self) -> Any:
        yield "a good film"
        raise ValueError("no more")


def _file(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


def _saved(explanations: Any, name: str) -> str:
    explanations.save(name)
    return name


def _cut(name: str, size: int) -> str:
    os.truncate(name, size)
    return name


def namespace() -> dict[str, Any]:
    """What the expressions of PYTHON may name, beside `C`."""
    import numpy
    import pandas
    import torch

    import whybert

    public = {name: getattr(whybert, name) for name in whybert.__all__}
    libraries = {"np": numpy, "pd": pandas, "torch": torch}
    own = {"Path": Path, "Unwilling": Unwilling, "file": _file, "saved": _saved, "cut": _cut}
    heads = {"NER": NER, "QA": QA, "LM": LM, "headed": _headed}
    return {**public, **libraries, **own, **heads, "whybert": whybert}


@cache
def _headed(kind: str) -> Any:
    import tempfile

    import whybert

    with tempfile.TemporaryDirectory() as made:
        with_head(kind)(Path(made) / "model")
        return whybert.Classifier.load(Path(made) / "model")


# fmt: off
TEXTS = ["None", "3", "3.5", "True", "b'a film'", "{'text': 'a film'}", "{'a film'}", "[None]", "[3]", "[b'a']", "[['a', 'b']]", "[('a', 'b', 'c')]", "('a', 'b', 'c')", "('a',)", "()", "('a', None)", "['a', float('nan')]", "''", "' '", "['a', '']", "('a', '')", "pd.DataFrame({'text': ['a']})", "pd.Series(['a', None])", "pd.Series(['a', float('nan')])", "pd.Series([1, 2])", "np.array([1.5])", "np.array(['a', 'b', 'c']).reshape(1, 3)", "torch.zeros(2)", "object()", "len", "str", "[{'text': 'a'}]", "[[]]"]
PYTHON: list[Python] = [
    *(Python(f"texts {texts}", f"explain(C, {texts})", "InputError", "text") for texts in TEXTS),
    *(Python(f"texts to predict {texts}", f"C.predict({texts})", "InputError", "text") for texts in TEXTS),
    Python("no text", "explain(C, [])", gives=[]),
    Python("layers of a method that has none", "explain(C, 'a', 'lrp', layers=True)", "UsageError", "lrp is none"),
    Python("layers of no text", "explain(C, [], layers=True)", gives=[]),
    Python("a picture of layers that were not asked for", "explain(C, 'a')[0].plot('layers')", "UsageError", "layers=True"),
    Python("no text, several methods", "explain(C, [], ['gi', 'lat'])", gives={"gi": [], "lat": []}),
    Python("a generator", "[e.text for e in explain(C, (t for t in ['a', 'b']))]", gives=["a", "b"]),
    Python("a generator that fails", "explain(C, Unwilling())", "ValueError", "no more"),
    Python("a Series", "[e.text for e in explain(C, pd.Series(['a', 'b'], index=[7, 3]))]", gives=["a", "b"]),
    Python("an array", "[e.text for e in explain(C, np.array(['a', 'b']))]", gives=["a", "b"]),
    Python("an array of objects", "[e.text for e in explain(C, np.array(['a', 'b'], object))]", gives=["a", "b"]),
    Python("an array of two columns", "[(e.text, e.pair) for e in explain(C, np.array([['a', 'b']]))]", gives=[("a", "b")]),
    Python("two columns", "[(e.text, e.pair) for e in explain(C, (pd.Series(['a', 'b']), pd.Series(['c', 'd'])))]", gives=[("a", "c"), ("b", "d")]),
    Python("two columns of two lengths", "explain(C, (pd.Series(['a', 'b']), pd.Series(['c'])))", "InputError", "2"),
    Python("a column of a Hugging Face data set", "[e.text for e in explain(C, load_data('reviews.csv').split('train')['text'])]", gives=TWO),
    Python("texts and pairs", "explain(C, ['a', ('a', 'b')])", "InputError", "encode texts and pairs separately"),
    Python("a lone surrogate", "explain(C, 'a \\ud800')[0].text", gives="a \ud800"),
    Python("NUL", "explain(C, 'a\\0b')[0].text", gives="a\0b"),
    # The classifier.
    *(Python(f"a classifier {value}", f"explain({value}, 'a')", "UsageError", "lassifier") for value in ("None", "3", "object()", "{}", "str")),
    Python("a classifier that is a model", "explain(C.model, 'a')", "UsageError", "tokenizer"),
    Python("a classifier that is nowhere", "explain('./nowhere', 'a')", "WhybertError", "./nowhere"),
    Python("a model without a tokenizer", "Classifier(C.model, None)", "WhybertError", "tokenizer"),
    Python("a model and a tokenizer in the wrong order", "Classifier(C.tokenizer, C.model)", "WhybertError"),
    Python("a name as a model", "Classifier('builtin', C.tokenizer)", "WhybertError", "Classifier.of"),
    Python("a name as a tokenizer", "Classifier(C.model, 'bert-base-uncased')", "WhybertError", "tokenizer"),
    Python("a module without settings", "Classifier(torch.nn.Linear(2, 2), C.tokenizer)", "WhybertError"),
    *(Python(f"load {value}", f"Classifier.load({value})", "UsageError", "source must be") for value in ("None", "3", "b'builtin'", "C.model", "['builtin']")),
    Python("load a folder that is none", "Classifier.load(Path('nowhere'))", "ModelLoadError", "nowhere"),
    Python("load to no device", "Classifier.load('builtin', device='moon')", "UsageError", "'moon'"),
    Python("load to a device of a wrong type", "Classifier.load('builtin', device=[1])", "UsageError", "device"),
    Python("load as no dtype", "Classifier.load('builtin', dtype=float)", "UsageError", "dtype must be"),
    Python("load as whole numbers", "Classifier.load('builtin', dtype=torch.int8)", "UsageError", "dtype must be"),
    Python("load a revision of a folder", "Classifier.load('builtin', revision='main')", "UsageError", "revision"),
    *(Python(f"max_length {value}", f"Classifier(C.model, C.tokenizer, {value}).predict('a')", "UsageError", "max_length") for value in ("0", "-1", "2", "100000", "True", "1.5")),
    # Batches.
    *(Python(f"batch_size {value}", f"explain(C, 'a', batch_size={value})", "InputError", "batch_size must be") for value in ("0", "-1", "True", "1.0", "None", "'8'")),
    Python("a huge batch", "len(explain(C, ['a', 'b'], batch_size=10**30))", gives=2),
    # Methods.
    *(Python(f"method {value}", f"explain(C, 'a', {value})", "UsageError") for value in ("None", "3", "''", "[]", "['gi', 'gi']", "'atnlrp'", "['gi', None]", "'gi:reduction=summ'", "'gi:reduction'", "'gi:'", "'lrp:alpha=nan'", "'lrp:alpha=2'", "b'gi'")),
    Python("a misspelt option", "explain(C, 'a', 'gi', redction='sum')", "UsageError", "'redction'"),
    Python("a misspelt argument", "explain(C, 'a', batchsize=3)", "UsageError", "'batchsize'"),
    Python("an option of a wrong type", "explain(C, 'a', 'lrp', alpha='half')", "UsageError", "alpha"),
    Python("a class as a method", "explain(C, 'a', METHODS['gi'])", "UsageError"),
    # Methods that take words away.
    *(Python(f"{spec}", f"explain(C, 'a good film', '{spec}')", "UsageError", words) for spec, words in (
        ("lime:samples=1", "samples"), ("lime:ridge=0", "ridge"), ("lime:kernel_width=-1", "kernel_width"), ("lime:by=remove", "'remove'"), ("lime:by=infill", "model=..."), ("lime:unit=letter", "'letter'"),
        ("kernel_shap:samples=3", "samples"), ("shapley_sampling:samples=0", "samples"), ("partition_shap:samples=1", "samples"), ("sobol:samples=1", "samples"), ("random:seed=-1", "seed"),
        ("occlusion:window=0", "window"), ("vargrad:samples=1", "samples"), ("vargrad:noise=0", "noise"), ("integrated_gradients:n_steps=1000000", "n_steps"), ("all", "GROUPS"), ("standard", "GROUPS"),
        ("lime:samples=1000000000", "give fewer"), ("shapley_sampling:samples=1000000000", "give fewer"), ("sobol:samples=1000000000", "give fewer"), ("occlusion:stride=2", "stride"), ("input_marginalisation", "model=..."),
    )),
    Python("exact values of a long text", "explain(C, 'a ' * 13, 'exact_shapley')", "UsageError", ("at most 12 words", "found 13", "kernel_shap")),
    Python("the stride of occlusion as a keyword", "explain(C, 'a film', 'occlusion', window=2, stride=2)", "UsageError", "'occlusion:window=2,stride=2'"),
    Python("no baseline", "explain(C, 'a film', 'integrated_gradients', baseline='')", "UsageError", "leave baseline out"),
    *(Python(f"{spec} of long texts", f"explain(C, 'film ' * 30, '{spec}')", "UsageError", "give fewer") for spec in ("kernel_shap:samples=1000000000", "sampled_attnlrp:samples=1000000000", "guided_shap:samples=1000000000")),
    *(Python(f"{spec} has all sets of few words", f"explain(C, 'a film', '{spec}')[0].words()[1].text", gives="film") for spec in ("kernel_shap:samples=1000000000", "sampled_attnlrp:samples=1000000000")),
    *(Python(f"{spec} of one word, all of it deleted", f"explain(C, 'film', '{spec}')[0].words()[0].text", gives="film") for spec in ("lime:samples=2,by=delete", "kernel_shap:samples=4,by=delete", "shapley_sampling:samples=1,by=delete", "partition_shap:samples=2,by=delete", "sobol:samples=2,by=delete", "occlusion:window=9,stride=9,by=delete", "exact_shapley:by=delete")),
    # Methods of several passes.
    *(Python(f"{spec}", f"explain(C, 'a good film', '{spec}')", "UsageError", words) for spec, words in (
        ("sampled_attnlrp:samples=0", "samples"), ("sampled_attnlrp:samples=1.5", "samples"), ("sampled_attnlrp:whole=-1", "whole"), ("sampled_attnlrp:whole=nan", "whole"), ("sampled_attnlrp:removal=pad", "'pad'"), ("sampled_attnlrp:unit=letter", "'letter'"), ("sampled_attnlrp:seed=-1", "seed"), ("sampled_attnlrp:rules=lrp", "'lrp'"),
        ("integrated_attnlrp:n_steps=0", "n_steps"), ("integrated_attnlrp:baseline=maks", "'maks'"), ("iterative_attnlrp:steps=0", "steps"), ("iterative_attnlrp:by=zero", "'zero'"), ("guided_shap:samples=0", "samples"), ("guided_shap:by=pad", "'pad'"),
    )),
    *(Python(f"{spec} of one word", f"explain(C, 'film', '{spec}')[0].words()[0].text", gives="film") for spec in ("sampled_attnlrp", "sampled_attnlrp:whole=0,samples=1", "integrated_attnlrp", "iterative_attnlrp", "guided_shap:samples=1")),
    *(Python(f"{spec} of tensors", f"attribute(C.model, {{'input_ids': torch.tensor([[2, 7, 8, 3]])}}, '{spec}')", "UsageError", "unit='token'") for spec in ("sampled_attnlrp", "iterative_attnlrp", "guided_shap")),
    Python("sampled_attnlrp by mask without a tokenizer", "attribute(C.model, {'input_ids': torch.tensor([[2, 7, 8, 3]])}, 'sampled_attnlrp', unit='token')", "UsageError", "mask token"),
    # Targets.
    *(Python(f"target {value}", f"explain(C, ['a', 'b'], target={value})", "UsageError", words) for value, words in (
        ("2", "from 0 to 1"), ("-1", "from 0 to 1"), ("'good'", "'good'"), ("True", "True"), ("0.5", ""), ("[0]", "one target for each of the 2 texts"),
        ("[0, 1, 0]", "one target for each"), ("[]", "one target for each"), ("(0, 0)", "two different"), ("(0, 1, 0)", "two classes"), ("('positive',)", "two classes"),
        ("[0, 2]", "from 0 to 1"), ("['positive', 'good']", "'good'"), ("[0, None, 1]", ""), ("{'a': 0}", ""), ("b'positive'", ""), ("np.array([0.0, 1.0])", ""), ("np.array([True, False])", ""),
        ("torch.tensor([0.5, 1.0])", ""), ("torch.zeros(2, 2, 2, dtype=int)", ""), ("[[0, 1]]", ""), ("[[0, 1], [1, 0]]", ""), ("float('nan')", ""), ("object()", ""), ("pd.Series([0.0, 1.0])", ""), ("pd.Series([0, None])", ""),
    )),
    *(Python(f"quantity {value}", f"explain(C, ['a', 'b'], quantity={value})", "UsageError", words) for value, words in (
        ("'odds'", "unknown quantity 'odds'"), ("3", "3"), ("['logit']", "unknown quantity"), ("''", "unknown quantity"), ("'Logit'", "did you mean 'logit'"),
        ("'margin', target=(0, 1)", "no margin"), ("'entropy', target=[0, (1, 0)]", "no entropy"), ("'entropy', target='all'", "all"), ("'logit', target=['all', 0]", "expected one class"), ("'logit', target=('all', 0)", "expected one class"),
    )),
    *(Python(f"a place {kind} {value}", f"explain(headed({kind}), {value})", "UsageError", words) for kind, value, words in (
        ("NER", "'a film'", "names a word"), ("NER", "'a film', target=3", "names a word"), ("NER", "'a film', target=(3, None)", "from 0 to 1"),
        ("NER", "'a film', target=('film', None, None)", "names a word"), ("NER", "'a film', target=(None, None)", "names a word"),
        ("NER", "['a film'], target=[('film', None), ('film', None)]", "one target for each"), ("NER", "'a film', target=('film', 'B-ORG')", "B-ORG"),
        ("NER", "'a film', target=(['film'], None)", "or its number"), ("NER", "'a film', target=(2.0, None)", "or its number"),
        ("NER", "'a film', 'occlusion:by=delete', target=('film', None)", "by='mask'"), ("NER", "'a film', target=('film', ('O', 'O'))", "two different"),
        ("NER", "'a film', target=('film', None), quantity='odds'", "odds"), ("NER", "'a film', target=('film', ('O', 1)), quantity='margin'", "no margin"),
        ("QA", "('a', 'film')", "start or its end"), ("QA", "('a', 'film'), target=('start', 'a')", "unknown word"), ("QA", "('a', 'film'), target=(0, 'a')", "start or its end"),
        ("LM", "'a film'", "one mask"), ("LM", "'a [MASK]', target=('[MASK]', 999)", "from 0 to"), ("LM", "'a [MASK]', target='all'", "one token, or"), ("LM", "'a [MASK]', target=('[MASK]', {'a', 'film'})", "one token, or"),
    )),
    Python("a word of nothing but marks", "explain(headed(NER), 'a , film', target=(',', None))[0].place.name", gives=","),
    Python("a place of no text", "explain(headed(NER), [], target=('film', None))", gives=[]),
    Python("every class of no text", "explain(C, [], target='all', quantity='probability')", gives=[]),
    *(Python(f"a good target {value}", f"[e.target.index for e in explain(C, ['a', 'b'], target={value})]", gives=gives) for value, gives in (
        ("'POSITIVE'", [1, 1]), ("1", [1, 1]), ("[0, 1]", [0, 1]), ("['positive', 0]", [1, 0]), ("np.array([0, 1])", [0, 1]), ("np.int64(1)", [1, 1]), ("torch.tensor([1, 0])", [1, 0]), ("torch.tensor(1)", [1, 1]),
        ("pd.Series([0, 1])", [0, 1]), ("pd.Series(['positive', 'negative'])", [1, 0]), ("np.array(['positive', 'negative'])", [1, 0]), ("('positive', 'negative')", [1, 1]),
    )),
    # Tensors.
    Python("attribute nothing", "attribute(C.model, {})", "UsageError"),
    Python("attribute None", "attribute(C.model, None)", "UsageError"),
    Python("attribute a text", "attribute(C.model, 'a')", "UsageError"),
    Python("attribute no model", "attribute(None, {'input_ids': torch.tensor([[2, 3]])})", "WhybertError"),
    Python("attribute a Classifier", "attribute(C, {'input_ids': torch.tensor([[2, 3]])})", "WhybertError"),
    Python("attribute one row without a batch", "attribute(C.model, {'input_ids': torch.tensor([2, 3])})", "UsageError", "input_ids"),
    Python("attribute numbers with fractions", "attribute(C.model, {'input_ids': torch.tensor([[2.0, 3.0]])})", "UsageError", "input_ids"),
    Python("attribute a token out of range", "attribute(C.model, {'input_ids': torch.tensor([[2, 10**6]])})", "UsageError"),
    Python("attribute no rows", "attribute(C.model, {'input_ids': torch.zeros(0, 3, dtype=int)})", "UsageError"),
    Python("attribute no tokens", "attribute(C.model, {'input_ids': torch.zeros(1, 0, dtype=int)})", "UsageError"),
    Python("attribute too many tokens", "attribute(C.model, {'input_ids': torch.ones(1, 99, dtype=int)})", "UsageError"),
    Python("attribute masks of another shape", "attribute(C.model, {'input_ids': torch.ones(1, 3, dtype=int), 'attention_mask': torch.ones(1, 2)})", "WhybertError"),
    Python("attribute with nothing to see", "attribute(C.model, {'input_ids': torch.ones(1, 3, dtype=int), 'attention_mask': torch.zeros(1, 3, dtype=int)})", "InputError", "row 0"),
    Python("attribute lists", "attribute(C.model, C.tokenizer('a'))", "UsageError"),
    # Values.
    *(Python(f"top {value}", f"explain(C, 'a')[0].top({value})", "UsageError") for value in ("-1", "1.5", "None", "True", "'3'")),
    Python("no such level", "explain(C, 'a')[0].top(1, 'letter')", "UsageError", "letter"),
    *(Python(f"Explanation.from_dict {value}", f"Explanation.from_dict({value})", "WhybertError") for value in ("{}", "None", "[]", "{'text': 'a'}", "{**explain(C, 'a')[0].to_dict(), 'tokens': 3}", "{**explain(C, 'a')[0].to_dict(), 'logits': 'no'}")),
    # Data.
    *(Python(f"load_data {value}", f"load_data({value})", "WhybertError") for value in ("None", "3", "''", "'nowhere.csv'", "'sst22'", "[]", "b'reviews.csv'", "{'text': ['a']}", "pd.DataFrame({'text': ['a']})", "Path('nowhere')", "'reviews.csv', label_column=3", "'reviews.csv', text_column='body'")),
    *(Python(f"evaluate {value}", f"evaluate(C, {value})", "WhybertError") for value in ("None", "3", "'reviews.csv'", "['a']", "load_data('reviews.csv'), metrics=['aopcc']", "load_data('reviews.csv'), metrics=[]", "load_data('reviews.csv'), limit=0", "load_data('reviews.csv'), methods=[], control=False", "load_data('reviews.csv'), batch_size=0", "load_data('reviews.csv'), target='good'", "load_data('reviews.csv'), seed=-1")),
    *(Python(f"audit {value}", f"audit({value})", "WhybertError") for value in ("None", "3", "C, [3]", "C, ['']", "C, None, ['gx']", "C.model")),
    # Other ways to say a classifier.
    *(Python(f"Classifier.of {value}", f"Classifier.of({value})", "UsageError", words) for value, words in (
        ("None", "found NoneType"), ("(C.model,)", "pair (model, tokenizer)"), ("(C.tokenizer, C.model)", "the model comes first"), ("(C.model, C.tokenizer, 'a')", "pair"), ("C.model", "tokenizer"), ("C.tokenizer", "found"), ("{'model': C.model}", "found dict"), ("b'builtin'", "found bytes"), ("torch.zeros(2)", "found Tensor"), ("lambda texts: [[1, 0]], labels='no'", "labels"), ("C, labels=['a', 'b']", "says its own"),
    )),
    # Functions of texts.
    *(Python(f"BlackBox {value}", f"BlackBox({value})", "UsageError") for value in ("None", "3", "C.model", "len, batch_size=0", "len, batch_size=True", "len, mask=3", "len, labels='no'", "len, labels=[]", "len, labels=[1, 2]")),
    *(Python(f"a function that answers {value}", f"Classifier.of(lambda texts: {value}).predict('a')", "UnsupportedModelError") for value in ("texts", "None", "[]", "[0.5] * len(texts)", "[[]] * len(texts)", "[[0.5, None]] * len(texts)", "[[0.5, float('nan')]] * len(texts)", "[[2, 3]] * len(texts)", "1 / 0", "{}")),
    Python("a function has no gradient", "explain(lambda texts: [[0.5, 0.5]] * len(texts), 'a')", "UnsupportedModelError", "attnlrp needs the inside"),
    Python("a function has no logit", "explain(lambda texts: [[0.5, 0.5]] * len(texts), 'a', 'occlusion', quantity='logit')", "TargetError", "no logits"),
    *(Python(f"interactions {value}", f"interactions({value})", "UsageError") for value in ("None, 'a'", "C, None", "C, ['a']", "C, ''", "C, 'a', 'lime'", "C, 'a', samples=0", "C, 'a', samples=1.5", "C, 'a', seed=-1", "C, 'a', unit='letter'", "C, 'a', by='masks'", "C, 'a', by=None", "C, 'a', target='none'", "C, 'a', quantity='odds'")),
    *(Python(f"similarity {value}", f"similarity({value})", "WhybertError") for value in ("None, 'a', 'b'", "C, 'a', 'b'", "C.model, 'a', 'b'", "(C.model, C.tokenizer), 'a', ['b']", "(C.model.bert, C.tokenizer), 'a', 'b'", "(C.model.bert, C.tokenizer), 'a', None, pooling='mean'", "(C.model.bert, C.tokenizer), '', 'b', pooling='mean'", "(C.model.bert, C.tokenizer), 'a', 'b', pooling='sum'", "(C.model.bert, C.tokenizer), 'a', 'b', pooling='mean', score='l2'", "(C.model.bert, C.tokenizer), 'a', 'b', 'gx', pooling='mean'", "(C.model.bert, C.tokenizer), 'a', 'b', pooling='mean', max_length=1")),
    *(Python(f"zero_shot {value}", f"zero_shot({value})", "WhybertError") for value in ("None, 'a', ['b']", "C, 'a', ['b']", "C, 'a'", "C, ('a', 'b'), ['c']")),
    *(Python(f"a target of {value}", f"explain(C, 'a', 'gi', target={value})", "WhybertError") for value in ("set()", "{None}", "{'all'}", "{'none', 'positive'}", "frozenset({7})")),
    *(Python(f"smallest_removal {value}", f"smallest_removal({value})", "UsageError") for value in ("None, 'a'", "C, None", "C, ['a']", "C, ''", "C, 'a', by='masks'", "C, 'a', unit='letter'", "C, 'a', budget=0", "C, 'a b c', budget=2", "C, 'a', budget='many'")),
    *(Python(f"flips {value}", f"flips({value})", "UsageError") for value in ("None, 'a', {'a': 'b'}", "C, 'a'", "C, 'a', {}", "C, 'a', 'b'", "C, 'a', {'a b': ['c']}", "C, 'a', {'a': 3}", "C, 'a', {'a': ['']}", "C, 'a', {'a': 'b'}, most_words=0", "C, 'a', {'a': 'b'}, to='none'", "C, 'a', {'a': 'b'}, budget=0", "C, 'a', masked_lm=3", "C, ['a'], {'a': 'b'}")),
    *(Python(f"a classifier with {value}", f"Classifier(C.model, C.tokenizer, {value})", "WhybertError", words) for value, words in (
        ("labels=['a']", "label"), ("labels=['a', 'b', 'c']", "label"), ("labels=[]", "label"), ("labels='ab'", "label"), ("labels=[1, 2]", "label"), ("labels=3", "label"), ("problem_type='sorting'", "'sorting'"), ("problem_type=3", "problem_type"), ("embedding='nowhere'", "'nowhere'"), ("embedding=3", "embedding"), ("logits='nowhere'", "'nowhere'"), ("logits=99", "99"), ("max_length='8'", "max_length"), ("max_length=1.5", "max_length"), ("max_length=True", "max_length"), ("max_length=float('nan')", "max_length"),
    )),
    # Long texts.
    *(Python(f"explain with {value}", f"explain(C, 'a', {value})", "UsageError", words) for value, words in (
        ("long='letters'", "'letters'"), ("long=None", "long"), ("long=True", "long"), ("stride=3", "windows"), ("long='windows', stride=-1", "stride"), ("long='windows', stride=1.5", "stride"), ("long='windows', stride=True", "stride"),  ("long='windows', stride='3'", "stride"),
    )),
    Python("a stride as long as a window", "explain(C, 'good film ' * 100, long='windows', stride=10**30)", "UsageError", "stride"),
    Python("windows cover every word once", "len(explain(C, 'good film ' * 100, long='windows')[0].words())", gives=200),
    Python("no text in windows", "explain(C, [], long='windows')", gives=[]),
    # Explanations in files.
    *(Python(f"save {value}", f"save({value})", "WhybertError", words) for value, words in (
        ("[], 'x.html'", "no"), ("None, 'x.html'", ""), ("3, 'x.html'", ""), ("['a'], 'x.html'", ""), ("explain(C, 'a'), 'x.htlm'", "'x.htlm'"), ("explain(C, 'a'), 'x'", "'x'"), ("explain(C, 'a'), ''", ""), ("explain(C, 'a'), None", ""), ("explain(C, 'a'), 3", ""), ("explain(C, 'a'), b'x.html'", ""), ("explain(C, 'a'), 'no/x.html'", "'no'"), ("explain(C, 'a'), 'reviews.csv/x.html'", "reviews.csv"), ("explain(C, 'a'), 'x.html', 'letter'", "letter"), ("explain(C, ['a'] * 21), 'x.png'", "20"), ("[explain(C, 'a')[0], None], 'x.jsonl'", "NoneType"), ("'a', 'x.html'", "str"), ("{'gi': 3}, 'x.html'", "int"),
    )),
    *(Python(f"whybert.load {value}", f"load({value})", "WhybertError", words) for value, words in (
        ("'nowhere.jsonl'", "'nowhere.jsonl'"), ("'reviews.csv'", "reviews.csv"), ("'x.html'", "x.html"), ("''", ""), ("None", ""), ("3", ""), ("'model'", "'model'"), ("b'x.jsonl'", ""), ("'model/config.json'", "config.json"),
    )),
    *(Python(f"load {content!a:.40}", f"load(file('x.jsonl', {content!r}))", "FileError", "line 1") for content in (b"{", b"3\n", b"[]\n", b"{}\n", b'{"text": "a"}\n', b"\xff\xfe\n", b"NaN\n", b"null\n", b'{"schema": 99}\n')),
    Python("load lists in lists", "load(file('x.jsonl', b'[' * 100_000))", "FileError", "line 1"),
    Python("load nothing", "load(file('x.jsonl', b''))", gives=[]),
    Python("load blank lines", "load(file('x.jsonl', b'\\n \\n'))", gives=[]),
    Python("load what is no Parquet", "load(file('x.parquet', b'PAR1'))", "FileError", "x.parquet"),
    Python("load other Parquet", "load(pd.DataFrame({'a': [1]}).to_parquet('x.parquet') or 'x.parquet')", "FileError", "x.parquet"),
    Python("load a file cut short", "load(cut(saved(explain(C, ['a', 'b']), 'x.jsonl'), 900))", "FileError", "line 1"),
    Python("load Parquet cut short", "load(cut(saved(explain(C, ['a', 'b']), 'x.parquet'), 900))", "FileError", "x.parquet"),
    *(Python(f"save and load {suffix}", f"load(saved(explain(C, ['a \\ud800', 'b']), 'x.{suffix}')) == explain(C, ['a \\ud800', 'b'])", gives=True) for suffix in ("jsonl", "parquet")),
    *(Python(f"html {value}", f"html({value})", "WhybertError", words) for value, words in (("[]", ""), ("None", ""), ("3", ""), ("['a']", ""), ("explain(C, 'a'), level='letter'", "letter"), ("explain(C, 'a'), 'no/x.html'", "'no'"))),
    Python("html without scripts of a text", "'<script>alert' in html(explain(C, '<script>alert(1)</script>'))", gives=False),
    *(Python(f"Explanations {value}", f"{value}", "WhybertError", words) for value, words in (("explain(C, 'a').to_pandas('letter')", "letter"), ("Explanations([]).to_html()", ""), ("explain(C, 'a').save('x.htlm')", "x.htlm"), ("Explanations([3]).to_html()", ""), ("Explanations([3]).save('x.jsonl')", ""), ("Explanations([3]).to_pandas()", ""))),
    Python("a table of no explanations", "len(Explanations([]).to_pandas())", gives=0),
    # Pictures.
    *(Python(f"picture {value}", value, "WhybertError", words) for value, words in (("explain(C, 'a')[0].plot('cake')", "'cake'"), ("explain(C, 'a')[0].plot(level='letter')", "letter"), ("plot_methods([])", ""), ("plot_methods(None)", ""), ("plot_methods(explain(C, ['a', 'b']))", ""), ("plot_methods({'gi': 3})", ""), ("plot_deletion({})", ""), ("plot_deletion(None)", ""), ("plot_deletion({'gi': []})", ""), ("plot_word_scores([])", ""), ("plot_word_scores(None)", ""), ("plot_word_scores(explain(C, 'a'), k=0)", ""), ("plot_word_scores(explain(C, 'a'), 'cake')", "'cake'"))),
    # Comparisons, and labels of one's own.
    *(Python(f"compare {value}", f"compare({value})", "WhybertError", words) for value, words in (
        ("None, None", "NoneType"), ("explain(C, 'a')[0], None", "NoneType"), ("explain(C, 'a'), explain(C, ['a', 'b'])", "2"), ("explain(C, 'a')[0], 'a'", "str"), ("explain(C, 'a')[0], explain(C, 'a')[0], 'letter'", "letter"), ("explain(C, 'a')[0], explain(C, 'a')", ""), ("[3], [3]", "int"),
    )),
    Python("compare one with itself", "compare(explain(C, 'a good film')[0], explain(C, 'a good film')[0]).changed_sign()", gives=()),
    *(Python(f"with_truth {value}", f"explain(C, ['a', 'b']).with_truth({value})", "WhybertError", words) for value, words in (("['positive']", "2"), ("None", ""), ("3", ""), ("'positive'", ""), ("['positive', 'negative', 'positive']", "3"))),
    Python("a baseline that is the text", "max(map(abs, explain(C, 'a good film', 'deeplift', baseline='a good film')[0].scores))", gives=0.0),
    Python("a baseline that is no text", "explain(C, 'a', 'deeplift', baseline=3)", "UsageError", "text in quotes"),
    Python("a name that is not there", "whybert.explian", "AttributeError", "explian"),
]
