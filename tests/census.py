"""Every sequence classifier of transformers, built tiny and asked; the table of the docs comes of it.

python tests/census.py                  what is served, and why not
python tests/census.py llama gpt2       of these families, with all that was found
python tests/census.py --write          the page docs/census.md
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from whybert import Attribution, UnsupportedOperationError, WhybertError, attribute
from whybert.anatomy import embedding_block, plain, word_embeddings
from whybert.auditing import _state
from whybert.errors import one_line
from whybert.finding import is_clear, made_known
from whybert.foreign import bare, point_of
from whybert.interception import run
from whybert.interception.calls import tensors_in
from whybert.lrp.composites import GRADIENT
from whybert.targets import ResolvedTarget, resolve

FAMILIES: Final = tuple(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
VOCABULARY, LABELS, PAD, END = 64, 3, 0, 2
LENGTHS: Final = (13, 10, 8)  # longer than windows, and than what sparse attention is made full for
LARGEST: Final = 4_000_000  # parameters

# What configurations call their sizes; each takes those that it has.
SIZES: Final[dict[str, int]] = {
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "word_embed_proj_dim"), 32),
    "pooler_hidden_size": 32,
    **dict.fromkeys(("num_hidden_layers", "n_layers", "num_layers", "n_layer"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_ff", "d_inner", "ffn_dim", "dff"), 48),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "ffn_hidden_size", "feed_forward_size"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 48),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "num_experts_per_tok": 2,
    **dict.fromkeys(("embedding_size", "input_embedding_size", "output_embedding_size"), 16),
    **dict.fromkeys(("head_dim", "d_kv", "d_head", "attention_head_size", "kv_channels"), 8),
    # of attention whose keys and values are made of few numbers
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "v_head_dim"), 8),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim"), 4),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    **dict.fromkeys(("sliding_window", "local_attention", "window_size"), 4),
    "max_2d_position_embeddings": 64,
    "max_window_layers": 1,
}
COMMON: Final[dict[str, Any]] = {
    "num_labels": LABELS,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": END,
    "initializer_range": 0.2,
}

# What that does not get right.
_ALL_HEADS: Final = {"num_key_value_heads": 4}
_MIXED: Final = {"layer_types": ["linear_attention", "full_attention"]}
_BOTH: Final = {"layer_types": ["sliding_attention", "full_attention"]}
CHANGES: Final[dict[str, dict[str, Any]]] = {
    "axk1": {**_ALL_HEADS, "n_group": 2, "topk_group": 1, "mlp_layer_types": ["dense", "sparse"]},
    "axk2": {
        **_ALL_HEADS,
        "index_topk": 4,
        "index_head_dim": 8,
        "index_n_heads": 2,
        "gated_norm_rank": 4,
        "mlp_layer_types": ["dense", "sparse"],
    },
    "big_bird": {"block_size": 1, "num_random_blocks": 1},
    "bigbird_pegasus": {"block_size": 1, "num_random_blocks": 1},
    "canine": {"num_hash_buckets": 64, "local_transformer_stride": 4},
    "cohere_compass_text": {
        **_BOTH,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4}
            for kind in ("sliding_attention", "full_attention")
        },
    },
    "deepseek_v2": {**_ALL_HEADS, "first_k_dense_replace": 1},
    "deepseek_v3": {**_ALL_HEADS, "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1},
    "esm": {"mask_token_id": 4, "vocab_size": VOCABULARY},
    "esmc": _ALL_HEADS,
    "funnel": {"block_sizes": [1, 1]},
    "gemma3": {"text_config": _BOTH},
    "gemma3_text": _BOTH,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "hunyuan_v1_moe": {"moe_topk": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4, "input_size": 8, "patch_size": 4},
    "longformer": {"attention_window": 4},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 8},
    "markuplm": {"max_depth": 4, "xpath_unit_hidden_size": 4},
    "minicpm3": _ALL_HEADS,
    "lilt": {"hidden_size": 48, "channel_shrink_ratio": 2},
    "minimax": _MIXED,
    "ministral": _BOTH,
    "mistral4": _ALL_HEADS,
    "mobilebert": {"intra_bottleneck_size": 16, "true_hidden_size": 16},
    "nemotron": _ALL_HEADS,
    "nystromformer": {"conv_kernel_size": 3},
    "olmo3": _BOTH,
    "perceiver": {
        "num_latents": 6,
        "d_latents": 32,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
    },
    "qwen3_5": {"text_config": _MIXED},
    "qwen3_5_text": _MIXED,
    "qwen3_next": _MIXED,
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
        "hash_seed": 0,
    },
    "roc_bert": {
        "pronunciation_embed_dim": 8,
        "pronunciation_vocab_size": 64,
        "shape_embed_dim": 8,
        "shape_vocab_size": 64,
    },
    "squeezebert": {"embedding_size": 32},
    "t5": {"decoder_start_token_id": 0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        **_ALL_HEADS,
        "num_hidden_layers": 3,
        "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
    },
    "zamba2": {
        **_ALL_HEADS,
        "layers_block_type": ["linear_attention", "hybrid"],
        "mamba_d_state": 4,
        "chunk_size": 4,
        "adapter_rank": 4,
    },
}

REMARKS: Final = {"reformer": "with a hash_seed: without one it draws random numbers, and is refused"}


def _small(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """Arguments of a configuration that make it small, of those in it too."""
    default = kind()
    fields = {each.name for each in dataclasses.fields(kind)}
    found: dict[str, Any] = {
        name: size
        for name, size in SIZES.items()
        if name in fields and isinstance(getattr(default, name), int | None)
    }
    for name in kind.sub_configs:
        inner = getattr(default, name, None)
        if isinstance(inner, PreTrainedConfig):
            found[name] = {"model_type": inner.model_type, **_changed(_small(type(inner)), COMMON)}
    return found


def _changed(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with changes, also of those inside; None takes one away."""
    found = dict(settings)
    for name, value in changes.items():
        inner = found.get(name)
        found[name] = _changed(inner, value) if isinstance(value, dict) and isinstance(inner, dict) else value
    return found


def configuration(family: str) -> PreTrainedConfig:
    kind = CONFIG_MAPPING[family]
    return kind(**_changed(_changed(_small(kind), COMMON), CHANGES.get(family, {})))


def build(family: str, dtype: torch.dtype = torch.float32, **changes: Any) -> nn.Module:
    """A classifier of a family with random weights, biases and norms included, in eval mode.

    changes: of `from_config`, such as attn_implementation.
    """
    config = configuration(family)
    with torch.device("meta"):
        parameters = dict(AutoModelForSequenceClassification.from_config(config).named_parameters())
    if sum(each.numel() for each in parameters.values()) > LARGEST:
        largest = max(parameters, key=lambda name: parameters[name].numel())
        raise ValueError(f"{family} is large, above all {largest}, {tuple(parameters[largest].shape)}")
    torch.manual_seed(7)
    model = AutoModelForSequenceClassification.from_config(config, **changes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
            elif "norm" in name.lower():
                parameter.uniform_(0.5, 1.5)
            elif bool((parameter == parameter.flatten()[0]).all()):  # such as a gate that is shut at first
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.to(dtype).eval()


def inputs(lengths: Sequence[int] = LENGTHS, seed: int = 11, *, left: bool = False) -> dict[str, Tensor]:
    """Random token ids, each text with an end, padded to the longest."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY - 4, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids[range(len(lengths)), [length - 1 for length in lengths]] = END
    found = {"input_ids": ids * mask, "attention_mask": mask}
    if left:
        for name, tensor in found.items():
            rows = [row.roll(max(lengths) - length) for row, length in zip(tensor, lengths, strict=True)]
            found[name] = torch.stack(rows)
    return found


# --- what is asked of each -----------------------------------------------------------------------------

METHODS: Final = {"AttnLRP": "attnlrp", "CP-LRP": "cp_lrp", "gradients": "gi:reduction=sum"}


@dataclass
class Found:
    """What was found of a family.

    kind: the name of its class.
    point: where it is explained.
    refused: by the name of the method, why.
    remarks: what else a reader should know.
    faults: promises that were not kept; there should be none.
    """

    family: str
    kind: str
    point: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        served = [name for name in METHODS if self.point and name not in self.refused]
        if not served or served[0] == "AttnLRP":
            return served[0] if served else "refused"
        return f"{served[0]} only"


def reason(error: WhybertError) -> str:
    """Why it was refused, without the way out."""
    if isinstance(error, UnsupportedOperationError):
        return error.operation
    return one_line(error, 400).split("; ")[0].split(" (is it run")[0]


@dataclass
class Asked:
    """A model and a batch, and what the plain model answers; `known` has an attribution point."""

    model: nn.Module
    batch: dict[str, Tensor]
    logits: Tensor
    known: nn.Module

    @cached_property
    def is_exact(self) -> bool:
        """Whether it is in float64, and no part of it computes in float32 whatever its own type."""
        if self.logits.dtype != torch.float64:
            return False
        seen = _Types()
        with seen:
            self.model(**self.batch)
        return seen.found <= {torch.float64}

    @property
    def bound(self) -> float:
        """How far two ways to compute the same may be apart."""
        return 1e-4 if self.logits.dtype == torch.float64 else 1e-3

    @property
    def target(self) -> list[int]:
        return self.logits.argmax(-1).tolist()

    def attributions(self, spec: str | list[str], batch: Mapping[str, Tensor] | None = None) -> Any:
        return attribute(self.known, self.batch if batch is None else batch, spec, self.target)


class _Types(TorchFunctionMode):
    """The types of what a forward pass makes of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[torch.dtype] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        self.found |= {each.dtype for each in tensors_in(output) if each.requires_grad}
        return output


class Examined:
    """A family, asked for all that is to be known of it: in float32, and for exact sums in float64."""

    def __init__(self, family: str) -> None:
        kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[family]
        self.found = Found(family, kind if isinstance(kind, str) else kind[0])
        self.found.remarks += [REMARKS[family]] if family in REMARKS else []
        self.family = family

    def all(self) -> Found:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of transformers, and of padding on the left
            try:
                model = build(self.family)
            except ImportError as error:
                package = one_line(error).partition("requires the ")[2].partition(" ")[0]
                self.found.refused["AttnLRP"] = f"cannot be built without {package or error}"
                return self.found
            self._unchanged(model, self._as_it_is)
            if self.found.point:
                exact = self._exact_model() or self.asked
                self._unchanged(exact.model, lambda _: self._exactly(exact))
        self.found.remarks = list(dict.fromkeys(self.found.remarks))
        return self.found

    def _fault(self, name: str, text: str) -> None:
        self.found.faults.append(f"{name}: {text}")

    def _unchanged(self, model: nn.Module, ask: Callable[[nn.Module], None]) -> None:
        _logits(model, inputs())  # some change themselves at their first call
        before = _state(model)
        ask(model)
        after = _state(model)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        if changed:
            self._fault("the model", f"changed {', '.join(sorted(changed)[:5])}")

    def _made_known(self, model: nn.Module, batch: dict[str, Tensor]) -> nn.Module | None:
        """With its attribution point, the model's own or one that is found."""
        try:
            known = model if is_clear(model, lambda: batch) else made_known(model, batch)
            with plain(known, backward=True):
                run(known, batch, (GRADIENT,))
        except WhybertError as error:
            self.found.refused = dict.fromkeys(METHODS, reason(error))
            return None
        point = point_of(known)
        if point is not None:
            several = len(point.parts) > 1
            self.found.point = "inputs of encoder and decoder" if several else "input of the first layer"
        else:
            block = embedding_block(known)
            self.found.point = f"`{next(n for n, part in model.named_modules() if part is block)}`"
        return known

    # --- in float32, as users have it ---

    def _as_it_is(self, model: nn.Module) -> None:
        batch = inputs()
        logits = _logits(model, batch)
        assert torch.isfinite(logits).all()
        if not torch.equal(_logits(model, batch), logits):
            self.found.remarks.append("answers otherwise each time")
        singles = [_single(batch, row) for row in range(len(LENGTHS))]
        alone = torch.cat([_logits(model, single) for single in singles])
        self.depends_on_batch = not torch.allclose(alone, logits, rtol=1e-4, atol=1e-4)
        other = {**batch, "input_ids": torch.where(batch["attention_mask"] == 0, 7, batch["input_ids"])}
        reads = not torch.allclose(_logits(model, other), logits, rtol=1e-4, atol=1e-4)
        self.reads_padding = reads and self.depends_on_batch  # others see by it where a text ends
        if self.depends_on_batch:
            why = "reads padding" if reads else "depends on how long the longest text is"
            self.found.remarks.append(f"its answer to a text {why}")
        known = self._made_known(model, batch)
        if known is None:
            return
        self.asked = Asked(model, batch, logits, known)
        self.scores: dict[str, Tensor] = {}
        for name, spec in METHODS.items():
            try:
                found = self.asked.attributions(spec)
            except WhybertError as error:
                self.found.refused[name] = reason(error)
            except Exception as error:
                self._fault(name, f"{type(error).__name__}: {one_line(error)}")
                self.found.refused[name] = "a raw error"
            else:
                self.scores[spec] = found.scores
                self._of_plain_model(name, found)
                self._in_half(name, spec)
                self._padded_on_the_left(name, spec, alone, self._alone(name, spec, singles))
        self._together()
        self._in_eager_attention()

    def _of_plain_model(self, name: str, found: Attribution) -> None:
        asked = self.asked
        with torch.enable_grad():
            differentiable = asked.model(**asked.batch).logits.detach()
        if not any(torch.equal(found.logits, each) for each in (asked.logits, differentiable)):
            apart = float((found.logits - asked.logits).abs().max() / asked.logits.abs().max())
            if apart > 16 * torch.finfo(found.logits.dtype).eps:
                self._fault(name, f"logits differ by {apart:.1e}")
            else:  # torch takes another kernel for weights that no gradient is asked for
                self.found.remarks.append("logits equal but for rounding")
        if not self.reads_padding and bool(found.scores[asked.batch["attention_mask"] == 0].any()):
            self._fault(name, "padding has scores")

    def _alone(self, name: str, spec: str, singles: list[dict[str, Tensor]]) -> list[Tensor]:
        """The scores of each text alone, held against those in a batch."""
        asked = self.asked
        found = [
            attribute(asked.known, single, spec, label).scores[0]
            for single, label in zip(singles, asked.target, strict=True)
        ]
        for row, scores in enumerate(found if not self.depends_on_batch else ()):
            apart = relative(self.scores[spec][row, : len(scores)], scores)
            if apart > asked.bound:
                self._fault(name, f"batch and single differ by {apart:.1e}")
        return found

    def _in_half(self, name: str, spec: str) -> None:
        half = copy.deepcopy(self.asked.known).to(torch.bfloat16)
        try:
            logits = _logits(bare(half), self.asked.batch)
        except RuntimeError:
            return  # the model itself does not compute in it
        if bool(torch.isfinite(logits).all()):
            try:
                attribute(half, self.asked.batch, spec, self.asked.target)
            except Exception as error:
                self._fault(name, f"in bfloat16: {type(error).__name__}: {one_line(error)}")

    def _padded_on_the_left(self, name: str, spec: str, alone: Tensor, expected: list[Tensor]) -> None:
        batch = inputs(left=True)
        if not torch.allclose(alone, _logits(self.asked.model, batch), rtol=1e-4, atol=1e-4):
            return  # it has other positions there, or reads the padding
        scores = self.asked.attributions(spec, batch).scores
        if bool(scores[batch["attention_mask"] == 0].any()):
            self._fault(name, "padding on the left has scores")
        for row, each in enumerate(expected):
            apart = relative(scores[row, -len(each) :], each)
            if apart > self.asked.bound:
                self._fault(name, f"padded on the left and single differ by {apart:.1e}")

    def _together(self) -> None:
        """Methods of one call share a pass."""
        found = self.asked.attributions(list(self.scores)) if len(self.scores) > 1 else {}
        for each in found.values():
            spec = next(spec for spec in self.scores if spec.partition(":")[0] == each.method)
            apart = relative(each.scores, self.scores[spec])
            if apart > self.asked.bound:
                self._fault(spec, f"alone and beside other methods differ by {apart:.1e}")

    def _in_eager_attention(self) -> None:
        model = build(self.family, attn_implementation="eager")
        logits = _logits(model, self.asked.batch)
        if not torch.allclose(logits, self.asked.logits, rtol=1e-3, atol=1e-3):
            self.found.remarks.append("eager attention gives other logits")
            return
        for spec, scores in self.scores.items():
            try:
                found = attribute(model, self.asked.batch, spec, self.asked.target)
            except WhybertError as error:
                self.found.remarks.append(f"{spec} not in eager attention: {reason(error)}")
            else:
                apart = relative(found.scores, scores)
                if apart > self.asked.bound:
                    self._fault(spec, f"in eager attention it differs by {apart:.1e}")

    # --- in float64 ---

    def _exact_model(self) -> Asked | None:
        """In float64, where its own code computes in it, on a padded batch if that is finite."""
        for changes in ({}, {"experts_implementation": "eager"}):
            for lengths in (LENGTHS, (LENGTHS[0],) * len(LENGTHS)):
                model, batch = build(self.family, torch.float64, **changes), inputs(lengths)
                try:
                    logits = _logits(model, batch)
                except RuntimeError:
                    continue
                if bool(torch.isfinite(logits).all()):
                    known = self._made_known(model, batch)
                    if known is not None:
                        return Asked(model, batch, logits, known)
                    self._fault("float64", "it is refused")
        self.found.remarks.append("checked in float32 alone: its own code does not compute in float64")
        return None

    def _exactly(self, asked: Asked) -> None:
        exact = asked.logits.dtype == torch.float64
        # Another batch, or other random numbers in another type, are not to be compared.
        is_same = torch.allclose(asked.logits.float(), self.asked.logits, rtol=1e-3, atol=1e-3)
        for name, spec in METHODS.items():
            if spec not in self.scores:
                continue
            found = asked.attributions(spec)
            if is_same:
                apart = relative(self.scores[spec].double(), found.scores)
                if apart > self.asked.bound:
                    self._fault(name, f"in float32 it is {apart:.1e} away from float64")
            if spec == "cp_lrp":
                self._books(name, found, 1e-6 if asked.is_exact else 1e-4 if exact else 1e-3)
        if "gradients" not in self.found.refused:
            self._point(asked)

    def _books(self, name: str, found: Attribution, bound: float) -> None:
        if found.biases is None or found.relevance_sum is None:
            self._fault(name, "it keeps no books")
            return
        total = found.relevance_sum + found.biases + (0 if found.elsewhere is None else found.elsewhere)
        parts = torch.stack([found.relevance_sum, found.biases, found.output]).abs().amax(0)
        open_share = float(((total - found.output).abs() / parts).max())
        if open_share > bound:
            self._fault(name, f"the books are open by {open_share:.1e}")

    def _point(self, asked: Asked) -> None:
        """The gradient against differences of the logits, and the point against other texts."""
        target = resolve(asked.target, asked.logits, [str(label) for label in range(LABELS)])
        base = run(asked.known, asked.batch, (GRADIENT,))
        gradient, embedding = base.gradient(GRADIENT, target), base.embedding.detach()

        def apart(seed: int) -> Tensor:
            direction = _direction(embedding, seed)

            def moved(step: float) -> Tensor:
                change = step * direction
                return target.output(run(asked.known, asked.batch, (), at=lambda e: e + change).logits)

            expected = (gradient * direction).flatten(1).sum(1)
            return _from_differences(moved, float(embedding.std()), expected)

        bound = 1e-4 if asked.is_exact else 1e-2
        worst = float(apart(0).max())
        if worst > bound:  # a kink beside, such as a change of experts, is in few directions
            worst = float(torch.stack([apart(seed) for seed in range(1, 6)]).median(0).values.max())
        if worst > bound:
            if self._is_autograds(asked, target, gradient):
                own = worst
            else:
                own = self._own_derivative(asked, target)
            if own > bound:
                self.found.remarks.append(f"its own derivative is {own:.0e} away from differences")
            if worst > max(bound, 3 * own):
                self._fault("gradients", f"{worst:.1e} away from differences")
        # All of the words is in the point: with that of other texts the model answers as to those.
        other = inputs(asked.batch["attention_mask"].sum(1).tolist(), seed=12)
        theirs = run(asked.known, other, ())
        logits = run(asked.known, asked.batch, (), at=lambda _: theirs.embedding).logits
        if not torch.allclose(logits, theirs.logits, rtol=asked.bound, atol=asked.bound):
            difference = float((logits - theirs.logits).abs().max())
            self._fault("the point", f"words pass by it: logits differ by {difference:.1e}")

    def _is_autograds(self, asked: Asked, target: ResolvedTarget, gradient: Tensor) -> bool:
        """Whether the gradient is that of the plain model at its own embedding block."""
        if point_of(asked.known) is not None:
            return False
        held: list[Tensor] = []

        def hold(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            held.append(output.detach().requires_grad_())
            return held[0]

        handle = embedding_block(asked.known).register_forward_hook(hold)
        output = target.output(asked.model(**asked.batch).logits).sum()
        handle.remove()
        return relative(gradient, torch.autograd.grad(output, held[0])[0]) < 1e-6

    def _own_derivative(self, asked: Asked, target: ResolvedTarget) -> float:
        """How far the plain model's derivative by its words is from differences.

        Some have another on purpose, and parts of many compute in float32.
        """
        model = copy.deepcopy(asked.model)
        words = getattr(word_embeddings(model), "weight", None)
        if words is None:
            words = next(iter(model.parameters()))
        output = target.output(model(**asked.batch).logits)
        (gradient,) = torch.autograd.grad(output.sum(), words)
        direction, value = _direction(words), words.detach().clone()

        def moved(step: float) -> Tensor:
            with torch.no_grad():
                words.copy_(value + step * direction)
            return target.output(_logits(model, asked.batch)).sum()

        return float(_from_differences(moved, float(value.std()), (gradient * direction).sum()))


def _logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**batch).logits


def _single(batch: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    return {name: value[row : row + 1, : LENGTHS[row]] for name, value in batch.items()}


def _direction(x: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)


def _from_differences(moved: Callable[[float], Tensor], scale: float, expected: Tensor) -> Tensor:
    """How far derivatives are from central differences, each at the best of several steps."""
    steps = [step * scale for step in (1e-2, 1e-3, 1e-4, 1e-5)]
    found = torch.stack([(moved(step) - moved(-step)) / (2 * step) for step in steps])
    scales = torch.maximum(found.abs(), expected.abs()).clamp_min(1e-300)
    return ((found - expected).abs() / scales).amin(0)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-300))


# --- the page -------------------------------------------------------------------------------------------

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "census.md"

_HEAD: Final = """# Every sequence classifier of transformers

Each entry of `AutoModelForSequenceClassification` was built tiny, with random weights, and asked.

{counts}

Of what is served, with its fused attention and with the eager one: the logits are the model's own; padding
has no scores, on the right and on the left; a text has the same scores alone as in a batch, in float32 as in
float64, and beside other methods; they are finite in bfloat16; CP-LRP's tokens and biases are the logit, in
float64 to a millionth; the gradient is that of differences of the logits; no word passes by the attribution
point; and the model is afterwards what it was. Where the model itself answers otherwise, such as in a batch,
a remark says so. What is not served is refused by name.

"AttnLRP" is served by CP-LRP too, but for remarks; "gradients only" by the gradient methods and those that
only ask. The point is the tensor that scores are for, [which is found](models.md#any-module) by asking the
model. `python tests/census.py llama gpt2` asks two families, `python tests/census.py --write` writes this
page, and a test holds it against what it finds.

| family | class | served by | attribution point | remarks |
|---|---|---|---|---|
"""


def row(found: Found) -> str:
    """The line of the page about a family."""
    remarks = list(found.remarks)
    if found.refused:
        by_reason: dict[str, list[str]] = {}
        for name, why in found.refused.items():
            by_reason.setdefault(why, []).append(name)
        whole = len(by_reason) == 1 and found.status != "AttnLRP"
        remarks[:0] = [why if whole else f"{', '.join(names)}: {why}" for why, names in by_reason.items()]
    cells = (
        found.family,
        f"`{found.kind}`",
        found.status,
        found.point,
        "; ".join(remarks).replace("|", "\\|"),
    )
    return "| " + " | ".join(cells) + " |"


def rows() -> dict[str, str]:
    """The lines of the page by family."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    return {family: line for line in lines if (family := line.split(" | ")[0].removeprefix("| ")) in FAMILIES}


def page(lines: Mapping[str, str]) -> str:
    of = Counter(line.split(" | ")[2] for line in lines.values())
    counts = (
        f"transformers {transformers.__version__}: of {len(lines)} families AttnLRP serves {of['AttnLRP']}, "
        f"CP-LRP only {of['CP-LRP only']}, gradients only {of['gradients only']}; "
        f"{of['refused']} are refused."
    )
    return _HEAD.format(counts=counts) + "".join(lines[each] + "\n" for each in FAMILIES if each in lines)


def report(found: Found) -> Iterator[str]:
    """All that was found of a family, line by line."""
    yield f"{found.family}: {found.status}, at {found.point or 'no point'}"
    yield from (f"    {method}: {why}" for method, why in found.refused.items())
    yield from (f"    ({remark})" for remark in found.remarks)
    yield from (f"    FAULT {fault}" for fault in found.faults)


def by_cause(every: Iterable[Found]) -> Iterator[str]:
    """What stands in the way, the most frequent first, and of which families."""
    why: dict[str, list[str]] = {}
    for found in every:
        for cause in (*dict.fromkeys(found.refused.values()), *(f"FAULT {fault}" for fault in found.faults)):
            why.setdefault(cause.replace(found.kind, "the model"), []).append(found.family)
    for cause, names in sorted(why.items(), key=lambda each: (-len(each[1]), each[0])):
        yield f"{len(names):3} {cause}\n      {', '.join(names)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What is served of transformers' classifiers.")
    parser.add_argument("families", nargs="*", default=list(FAMILIES), help="of these alone")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}, or their lines in it")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    every = []
    for family in arguments.families:
        every.append(Examined(family).all())
        print("\n".join(report(every[-1])), flush=True)
    print("\n" + "\n".join(by_cause(every)))
    print(", ".join(f"{status}: {count}" for status, count in Counter(each.status for each in every).items()))
    if arguments.write:
        PAGE.write_text(page({**rows(), **{each.family: row(each) for each in every}}), encoding="utf-8")


if __name__ == "__main__":
    main()
