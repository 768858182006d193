"""What a visitor has chosen, and the same as the query of a link."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import parse_qsl, urlencode

__all__ = ["LINK", "State"]

MANY: Final = "methods"

LINK: Final = 6000
"""The most characters of a query that a link is made of: longer ones are cut off on their way by some."""


@dataclass(frozen=True)
class State:
    """A question to the page.

    Fields:
        model: the name of one of the models that are served; empty for the first.
        text, pair: what is explained; an empty pair is none.
        methods: specs, such as "gi:reduction=sum", in the order in which they are shown.
        target: a label; empty for the predicted class.
        against: the label that the target is contrasted with; empty for none.
        quantity: what of the target is explained, as of `whybert.explain`; empty for its default.
        level: "word", "token" or "sentence".
        tab: the panel that is shown; empty for the first.
        before, before_pair: what both were before a word was edited; empty where none was.
        other_model, other_text, other_pair: what it is compared with; empty for the same.
    """

    model: str = ""
    text: str = ""
    pair: str = ""
    methods: tuple[str, ...] = ("attnlrp",)
    target: str = ""
    against: str = ""
    quantity: str = ""
    level: str = "word"
    tab: str = ""
    before: str = ""
    before_pair: str = ""
    other_model: str = ""
    other_text: str = ""
    other_pair: str = ""

    @property
    def query(self) -> str:
        """What differs from the defaults, as the query of a link, without its question mark."""
        default = State()
        said = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != getattr(default, field.name):
                # No method at all is said by an empty one.
                many = (value or ("",)) if field.name == MANY else (value,)
                said += [(field.name, each) for each in many]
        return urlencode(said, errors="surrogatepass")

    @classmethod
    def of_query(cls, query: str) -> State:
        """The state of a link; what is no field of a state is not of ours and stays unheeded."""
        known = {field.name for field in fields(cls)}
        given: dict[str, list[str]] = {}
        said = parse_qsl(query.removeprefix("?"), keep_blank_values=True, errors="surrogatepass")
        for name, value in said:
            if name in known:
                given.setdefault(name, []).append(value)
        values = {
            name: tuple(filter(None, each)) if name == MANY else each[-1] for name, each in given.items()
        }
        return cls(**values)  # type: ignore[arg-type]
