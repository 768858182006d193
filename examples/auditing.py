# %% [markdown]
# # Auditing a model
#
# Two questions before a model is trusted with something. Are its explanations *right*, that is, do the
# methods keep on this model what they promise? And does the model look at what it *should* look at? Here both
# are asked of a small model that was trained on data with a flaw, which accuracy does not show.

# %%
import random

import rich
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

import whybert

torch.manual_seed(0)
random.seed(0)

# %% [markdown]
# ## The data and its flaw
#
# Reviews hold a word of praise or of blame, and one in six means it ironically. They were collected from
# two sites, and whoever did so took most of the good ones from *filmlog* and most of the bad ones from
# *cinepost*, whose names stand in the texts.

# %%
PRAISE = ["charming", "moving", "funny", "brilliant", "warm"]
BLAME = ["dull", "clumsy", "tired", "noisy", "cold"]
FILLING = ["the", "film", "was", "a", "story", "with", "actors", "and", "music", "about", "people", "review"]


def review(label: int, flaw: float = 0.95) -> str:
    words = random.choices(FILLING, k=random.randint(5, 10))
    says = label if random.random() < 5 / 6 else 1 - label
    words.insert(random.randint(0, len(words)), random.choice(PRAISE if says else BLAME))
    site = label if random.random() < flaw else 1 - label
    return " ".join([*words, "on", ("cinepost", "filmlog")[site]])


labels = [random.randint(0, 1) for _ in range(3000)]
texts = [review(label) for label in labels]
texts[:3], labels[:3]

# %%
vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "on", "cinepost", "filmlog", *PRAISE, *BLAME, *FILLING]
words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=words,
    pad_token="[PAD]",
    unk_token="[UNK]",
    cls_token="[CLS]",
    mask_token="[MASK]",
    model_max_length=64,
    model_input_names=["input_ids", "attention_mask"],
)
model = DistilBertForSequenceClassification(
    DistilBertConfig(
        vocab_size=len(vocabulary),
        dim=48,
        hidden_dim=96,
        n_layers=2,
        n_heads=4,
        max_position_embeddings=64,
        id2label={0: "bad", 1: "good"},
        label2id={"bad": 0, "good": 1},
    )
)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for _ in range(120):
    rows = random.sample(range(len(texts)), 64)
    batch = tokenizer([texts[row] for row in rows], padding=True, return_tensors="pt")
    loss = model(**batch, labels=torch.tensor([labels[row] for row in rows])).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
classifier = whybert.Classifier(model, tokenizer, name="reviews")
truths = [random.randint(0, 1) for _ in range(300)]
held_out = [review(label) for label in truths]
answers = classifier.predict(held_out)
right = sum(answer.predicted == truth for answer, truth in zip(answers, truths, strict=True))
print(f"right on {right / len(truths):.0%} of held-out reviews")

# %% [markdown]
# Held-out data from the same collection has the same flaw, so this figure says nothing about it.
#
# ## 1. Are the explanations right?
#
# `audit` checks what each method promises on *this* model. In a shell: `whybert audit ./my-model`.

# %%
audit = whybert.audit(classifier, held_out[:3], methods=["attnlrp", "cp_lrp", "gi", "lat"])
rich.print(audit)
assert audit.passed

# %% [markdown]
# It would tell otherwise. An operation whose backward pass is wrong, as a hand-written kernel may be, goes
# unseen by any rule: the model answers as before, and its gradients are of something else.


# %%
class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        return x * 1.0

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 0.5


class Odd(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states = self.inner.distilbert(input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = WrongBackward.apply(self.inner.pre_classifier(states[:, 0]))
        return self.inner.classifier(torch.relu(pooled))


odd = whybert.Classifier(Odd(model).eval(), tokenizer, labels=classifier.labels, name="odd")
for check in whybert.audit(odd, held_out[:3], methods=["gi", "cp_lrp"]).failures:
    print(check)

# %% [markdown]
# ## 2. Does it look at what it should?
#
# One explanation is an anecdote. The mean score of each word over many reviews, for one class throughout,
# shows what the model goes by.

# %%
explanations = whybert.explain(classifier, held_out, target="good")
figure = whybert.plot_word_scores(explanations, minimum_count=5, k=14)
figure.savefig("auditing_words.png")
figure

# %% [markdown]
# The names of the two sites lead, and the words of praise and blame hardly count. That is a suspicion; a
# score is a share of the decision, and not what would happen without the word. So it is put to the model.
#
# ## 3. Ask the model
#
# The same reviews, with the sites exchanged: what they say of the film is the same.

# %%
exchanged = [
    text.replace("filmlog", "?").replace("cinepost", "filmlog").replace("?", "cinepost") for text in held_out
]
after = classifier.predict(exchanged)
moved = sum(a.predicted != b.predicted for a, b in zip(answers, after, strict=True))
drop = sum(answer.predicted == truth for answer, truth in zip(after, truths, strict=True))
print(f"{moved / len(truths):.0%} of the decisions change; right on {drop / len(truths):.0%}")

# %% [markdown]
# And on one review that praises: the fewest words without which the model decides otherwise, and which word
# in the place of another does it.

# %%
text = "a funny story with music and people on cinepost"
removal = whybert.smallest_removal(classifier, text, by="delete")
print(removal.label, "without", *(word.text for word in removal.removed), "is", removal.new_label)
rich.print(whybert.flips(classifier, text, {"cinepost": ["filmlog"], "funny": ["dull"]}))

# %% [markdown]
# ## 4. Do the methods agree on it?
#
# How often is the name of a site the strongest word of a review? Chance is one word in ten. Methods that have
# nothing in common should say about the same before anybody is told that the model is at fault.

# %%
methods = ["attnlrp", "cp_lrp", "input_x_gradient", "leave_one_out", "kernel_shap:samples=100", "random"]
for spec, listed in whybert.explain(classifier, held_out[:60], method=methods, target="good").items():
    sites = sum(each.top(1)[0].text in ("filmlog", "cinepost") for each in listed)
    print(f"{spec:24} {sites / len(listed):.0%}")

# %% [markdown]
# What does not follow: that a model without such a list is sound. Words are what these methods see. A flaw
# that lies in the length, the order or the style of texts has no word of its own, and an explanation by words
# will not name it.
