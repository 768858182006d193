# %% [markdown]
# # A model of your own
#
# Any `nn.Module` that takes `input_ids` and returns logits can be explained: no base class, no hooks, no
# code for its kind. Here a small one is written and trained, on texts that are made up on the spot, so that
# it is known what a right explanation must say.

# %%
import random

import rich
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

import whybert

torch.manual_seed(0)
random.seed(0)

# %% [markdown]
# ## The texts
#
# A text is `good` where it holds a word of praise and `bad` where it holds a word of blame; *not* turns
# that around. All other words mean nothing, and an explanation that points to them is wrong.

# %%
PRAISE = ["charming", "moving", "funny", "brilliant"]
BLAME = ["dull", "clumsy", "tired", "noisy"]
FILLING = ["the", "film", "was", "a", "story", "with", "actors", "and", "music", "about", "people"]


def example() -> tuple[str, int]:
    label, negated = random.randint(0, 1), random.random() < 0.4
    words = random.choices(FILLING, k=random.randint(4, 9))
    said = random.choice(PRAISE if label != negated else BLAME)
    place = random.randint(0, len(words))
    words[place:place] = ["not", said] if negated else [said]
    return " ".join(words), label


texts, labels = zip(*(example() for _ in range(3000)), strict=True)
texts[:3], labels[:3]

# %% [markdown]
# ## The tokenizer and the model
#
# Any tokenizer of transformers will do; this one has a word for each token. The model is one layer of
# attention, written out, and the mean over the text.

# %%
vocabulary = ["[PAD]", "[UNK]", "not", *PRAISE, *BLAME, *FILLING]
words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
)


class Small(nn.Module):
    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(len(vocabulary), size), nn.Embedding(64, size)
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.inner, self.outer = nn.Linear(size, 64), nn.Linear(64, size)
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        scores = self.query(x) @ self.key(x).transpose(1, 2) / x.shape[-1] ** 0.5
        scores = scores.masked_fill(attention_mask[:, None, :] == 0, -1e9)
        x = self.norm(x + scores.softmax(-1) @ self.value(x))
        x = x + self.outer(torch.relu(self.inner(x)))
        mask = attention_mask[:, :, None].to(x.dtype)
        return self.head((x * mask).sum(1) / mask.sum(1))


# %%
model = Small()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(300):
    rows = random.sample(range(len(texts)), 64)
    batch = tokenizer([texts[row] for row in rows], padding=True, return_tensors="pt")
    logits = model(batch["input_ids"], batch["attention_mask"])
    loss = nn.functional.cross_entropy(logits, torch.tensor([labels[row] for row in rows]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
print(f"loss {loss.item():.4f}")

# %% [markdown]
# ## The explanation
#
# Where the model embeds its tokens and which of its outputs are the logits is found in a forward pass.
# Where that is not clear you are told so, and say it: `embedding="words"`, `logits="scores"`.

# %%
classifier = whybert.Classifier(model, tokenizer, labels=["bad", "good"], name="small")
explanations = whybert.explain(
    classifier, ["the music was charming and the actors", "a story about people not dull with music"]
)
explanations

# %% [markdown]
# Look for two things. In the first text *charming* leads, and the filling hardly counts. In the second
# *not* carries the decision and *dull* gets next to nothing, though neither could decide alone: the model
# reads the two together, and a method that gives each word one number has to share that out somehow. A
# score near 0 does not mean that the word was not read.

# %%
figure = explanations[1].plot()
figure.savefig("own_model.png")
figure

# %% [markdown]
# ## Is it explained rightly?
#
# `audit` checks what each method promises on *this* model: its own logits, nothing on padding, a batch like
# a single text, gradients against differences. One method is refused by name: the rule of the released LRP
# is defined for a LayerNorm after each residual sum, and this model has only one. A refusal is no failure:
# a wrong heat map would be one.

# %%
audit = whybert.audit(
    classifier, ["the music was charming and the actors", "a story not dull", "a tired film"]
)
rich.print(audit)

# %% [markdown]
# ## Do they find what is known?
#
# We know which words decide. So we can count how often a method puts one of them first, over fresh texts.
# Chance is the share of such words in a text.

# %%
fresh = [example()[0] for _ in range(200)]
known = {"not", *PRAISE, *BLAME}
for name, listed in whybert.explain(classifier, fresh, method=["attnlrp", "cp_lrp", "gi", "gs"]).items():
    hits = sum(each.top(1)[0].text in known for each in listed)
    print(f"{name:8} {hits / len(fresh):.0%}")
chance = sum(len(known & set(text.split())) / len(text.split()) for text in fresh) / len(fresh)
print(f"chance   {chance:.0%}")

# %% [markdown]
# What does not follow: that the same method is best on your model. This one is small and was trained on a
# rule; see `comparing_methods.py` for how to ask that of a model whose reasons nobody knows.
