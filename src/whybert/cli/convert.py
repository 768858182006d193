"""The command `whybert convert`: an old checkpoint as a folder that the other commands read."""

from __future__ import annotations

from pathlib import Path

from whybert.cli.options import spread, told
from whybert.cli.output import note, show_result
from whybert.errors import UsageError

_SOURCE, _OUTPUT, _SWITCHES = "Checkpoint", "Output", "Switches"  # the panels of the help


@spread
def convert_command(
    tf_checkpoint_path: Path | None = told(
        _SOURCE,
        "A TensorFlow checkpoint with Google's names: bert_model.ckpt, its .index or its folder.",
        "PREFIX|FOLDER",
    ),
    pytorch_checkpoint_path: Path | None = told(
        _SOURCE, "Or a PyTorch state dict: pytorch_model.bin, checkpoint.bin.", "FILE"
    ),
    bert_config_file: Path | None = told(
        _SOURCE, "The sizes of the model; bert_config.json beside the checkpoint unless given.", "FILE"
    ),
    vocab_file: Path | None = told(
        _SOURCE, "The tokens, one in each line; vocab.txt beside the checkpoint unless given.", "FILE"
    ),
    labels: str | None = told(
        _SOURCE, "The names of a fine-tuned model's labels, in the order of its training.", "A,B,..."
    ),
    do_lower_case: bool | None = told(
        _SWITCHES,
        "Whether the model is an uncased one; by its name and its vocabulary unless given.",
        None,
        None,
        "do-lower-case/--no-do-lower-case",
        show_default=False,
    ),
    output_dir: Path | None = told(_OUTPUT, "The folder to write; it must be new or empty.", "FOLDER"),
    pytorch_dump_path: Path | None = told(
        _OUTPUT,
        "The same; of FOLDER/pytorch_model.bin the FOLDER, or FOLDER/pytorch_model if that holds "
        "other files.",
        "PATH",
    ),
    overwrite: bool = told(_SWITCHES, "Replace the folder of an earlier conversion.", default=False),
) -> None:
    """Turn a checkpoint of Google's BERT, or of PyTorch code of its time, into a Hugging Face folder."""
    if tf_checkpoint_path is not None and pytorch_checkpoint_path is not None:
        raise UsageError(
            "--tf-checkpoint-path and --pytorch-checkpoint-path exclude each other; give the one to convert"
        )
    if output_dir is not None and pytorch_dump_path is not None:
        raise UsageError("--output-dir and --pytorch-dump-path are the same; give one")
    names = None if labels is None else [name.strip() for name in labels.split(",")]

    from whybert.conversion import convert_pytorch, convert_tensorflow

    if tf_checkpoint_path is not None:
        convert, checkpoint = convert_tensorflow, tf_checkpoint_path
    elif pytorch_checkpoint_path is not None:
        convert, checkpoint = convert_pytorch, pytorch_checkpoint_path
    else:
        raise UsageError("nothing to convert; give --tf-checkpoint-path or --pytorch-checkpoint-path")
    if output_dir is not None:
        folder = output_dir
    elif pytorch_dump_path is not None:
        folder = _folder_of(pytorch_dump_path)
    else:
        raise UsageError("no place to write to; give --output-dir, a folder that does not exist yet")

    conversion = convert(
        checkpoint,
        folder,
        config=bert_config_file,
        vocabulary=vocab_file,
        labels=names,
        lower_case=do_lower_case,
        overwrite=overwrite,
    )
    show_result(conversion)


def _folder_of(path: Path) -> Path:
    """The folder to write for a path that may be that of the file pytorch_model.bin."""
    from whybert.conversion import may_hold_conversion

    if path.suffix != ".bin":
        return path
    # In the manner of 2020 the file was put beside the checkpoint.
    folder = path.parent if may_hold_conversion(path.parent) else path.with_suffix("")
    note(f"a folder with model.safetensors is written instead of the file {path.name}: {folder}", dim=True)
    return folder
