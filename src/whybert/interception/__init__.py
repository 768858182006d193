"""The one mechanism: a function mode that lets a model's own forward pass follow other rules backward.

`Interception` is a `torch.overrides.TorchFunctionMode`.  Inside its `with` block, in this thread only,
every torch function that the forward pass calls comes by here.  The ones that some composite has a
rule for run as functions of `whybert.lrp.functions`, whose value is the same and whose backward pass asks
for the rule; all others run as they are.  The model is not changed: no patch, no replaced module, no flag.

Descent decides.  The graph is cut at the point of attribution: the output of the embedding block (after its
LayerNorm) or, where a model embeds its words itself, the input of its first layer (see `whybert.points`).
What descends from it is *tracked*; all else, the parameters and whatever is computed from them alone, is a
constant, so no weight gradient is ever computed.  See `ForwardPass` for what is left when the block ends.
"""

from __future__ import annotations

from whybert.interception.calls import name_of
from whybert.interception.forward import ForwardPass
from whybert.interception.mode import Interception
from whybert.interception.running import run
from whybert.interception.trace import Attention, AttentionInputs

__all__ = ["Attention", "AttentionInputs", "ForwardPass", "Interception", "name_of", "run"]
