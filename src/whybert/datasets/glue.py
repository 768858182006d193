"""Pairs of texts: QNLI and MRPC, as GLUE has them (Wang et al., ICLR 2019), and MRPC as it first came.

QNLI: does the sentence answer the question?  In tables of integers 0 is entailment, as in GLUE.
MRPC: do the two sentences say the same?  The original files have no validation split.
"""

from __future__ import annotations

from whybert.datasets.base import TEST, TRAIN, VALIDATION, DatasetSpec, HubSource
from whybert.datasets.tabular import Columns, read_tsv, table_layout

_GLUE_FILES = {TRAIN: "train.tsv", VALIDATION: "dev.tsv", TEST: "test.tsv"}
_ORIGINAL_FILES = {TRAIN: "msr_paraphrase_train.txt", TEST: "msr_paraphrase_test.txt"}
_MRPC_COLUMNS = Columns(
    text=("#1 String", "text_a", "sentence1"),
    pair=("#2 String", "text_b", "sentence2"),
    label=("Quality", "label"),
)
_MRPC_VALUES = {"0": 0, "1": 1}

QNLI = DatasetSpec(
    "qnli",
    "whether a sentence answers a question",
    ("entailment", "not_entailment"),
    (
        table_layout(
            "GLUE",
            _GLUE_FILES,
            Columns(text=("question",), pair=("sentence",), label=("label",)),
            {"entailment": 0, "not_entailment": 1, "0": 0, "1": 1},
        ),
    ),
    HubSource("nyu-mll/glue", "qnli", text="question", pair="sentence"),
    is_pair=True,
    source="Wang et al., ICLR 2019, from SQuAD (Rajpurkar et al., EMNLP 2016)",
)

MRPC = DatasetSpec(
    "mrpc",
    "whether two sentences are paraphrases",
    ("not_equivalent", "equivalent"),
    (
        table_layout("GLUE", _GLUE_FILES, _MRPC_COLUMNS, _MRPC_VALUES),
        table_layout("original", _ORIGINAL_FILES, _MRPC_COLUMNS, _MRPC_VALUES, read_tsv),
    ),
    HubSource("nyu-mll/glue", "mrpc", text="sentence1", pair="sentence2"),
    is_pair=True,
    source="Dolan and Brockett, IWP 2005",
)

SPECS = (QNLI, MRPC)
