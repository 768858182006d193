"""The graph that autograd leaves: its nodes, and which of them known functions make."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from operator import attrgetter
from typing import Any, Final

from torch import Tensor

# The names of autograd's nodes, without "Backward0", that the known functions leave in the graph.  Which
# of several a function leaves depends on the device, the data type and the shapes.
KNOWN_NODES: Final = frozenset(
    """
    AccumulateGrad BackwardHookFunction CopyBackwards
    Add Addmm Baddbmm Addbmm Addmv Mv Bmm Mm Dot Linear MkldnnLinear T Mul Div Sub Rsub Neg Sum Mean
    Convolution View UnsafeView ViewAs Reshape ReshapeAlias AsStrided Alias Transpose Permute Expand Repeat
    Clone Copy CopySlices ToCopy To Contiguous Squeeze Unsqueeze Unflatten Flatten Slice Select Narrow Index
    IndexSelect IndexPut Gather Chunk Split SplitWithSizes UnsafeSplit UnsafeSplitWithSizes Unbind Cat Stack
    MaskedFill Where Detach ConstantPadNd Fill Zero FillDiagonal IndexFill IndexCopy IndexAdd Scatter
    ScatterAdd AvgPool2D Topk Sort Kthvalue Max Min RepeatInterleave GroupedMm AdaptiveAvgPool1D
    AdaptiveAvgPool2D Col2Im Complex Conj ConjPhysical CopyBackwards Cumsum DiagEmbed Diagonal
    DiagonalScatter FftC2C FftC2R FftR2C Flip Im2Col MaskedScatter MaskedSelect PixelShuffle PixelUnshuffle
    Roll Rot90 SelectScatter SliceScatter Take Trace Tril Triu Unfold UpsampleLinear1D UpsampleNearest1D
    UpsampleNearest2D UpsampleBilinear2D ViewAsComplex ViewAsReal Norm LinalgVectorNorm Std Amax Amin
    Maximum Minimum Fmax Fmin Cummax Cummin Median ValueSelectingReduction MaxPool2DWithIndices
    AdaptiveMaxPool2D Logsumexp
    """.split()  # noqa: SIM905 - a list literal would be one name a line
)
# Fused attention goes by its kernel, such as "ScaledDotProductFlashAttentionForCpu": its name begins so.
FUSED_ATTENTION: Final = ("ScaledDotProduct",)
# These are an operation's ordinary derivative: right only where no method of the call has a rule for it.
NODES_BY_KIND: Final = {
    "layer_norm": ("NativeLayerNorm", "FusedLayerNorm"),
    "softmax": ("Softmax", "SafeSoftmax", *FUSED_ATTENTION),
    "activation": tuple(
        """
        Gelu Relu Silu Tanh Sigmoid Erf Erfc SpecialNdtr LogSigmoid Mish Abs Hardswish Hardsigmoid Hardtanh
        Elu Celu LeakyRelu PreluKernel Softplus Clamp ClampMin ClampMax Threshold Softshrink Hardshrink Expm1
        Log1P
        """.split()  # noqa: SIM905
    ),
    "power": ("Pow", "Sqrt", "Square"),
}
# What autograd leaves where a kernel has no derivative: backward it hands on nothing, with a warning.
NODES_WITHOUT_DERIVATIVE: Final = frozenset({"WarnNotImplemented", "NotImplemented", "Error", "DelayedError"})


def nodes_of(
    root: Any,
    known: Container[Any] = (),
    below: Callable[[Any], Iterable[tuple[Any, int]]] = attrgetter("next_functions"),
) -> Iterator[Any]:
    """Every node of autograd's graph below `root`, once, the nearest first; what is known is passed over.

    below: the edges of a node that are followed.
    """
    waiting, seen = deque([] if root in known else [root]), {root}
    while waiting:
        node = waiting.popleft()
        yield node
        for following, _ in below(node):
            if following is not None and following not in seen and following not in known:
                seen.add(following)
                waiting.append(following)


def leaves_of(root: Any) -> Iterator[Tensor]:
    return (node.variable for node in nodes_of(root) if hasattr(node, "variable"))


def has_no_derivative(tensor: Tensor) -> bool:
    """Whether autograd would hand on nothing from here."""
    node = tensor.grad_fn
    return node is not None and node.name().rpartition("::")[2] in NODES_WITHOUT_DERIVATIVE
