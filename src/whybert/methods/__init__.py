"""The attribution methods: values that are made from a spec, such as "gi:reduction=sum".

A module of this package that defines a `Method` with a name is all that a new method takes.
"""

from __future__ import annotations

from whybert.methods.base import Method
from whybert.methods.question import Question
from whybert.methods.specs import GROUPS, METHODS, STANDARD, create, create_all, split

__all__ = ["GROUPS", "METHODS", "STANDARD", "Method", "Question", "create", "create_all", "split"]
