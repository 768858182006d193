# %% [markdown]
# # Sentence pairs
#
# Models of two texts (inference, paraphrase, question and answer) take pairs as tuples. The example makes a
# small one, so that it needs no download: it is taught whether a claim about a colour follows from a
# sentence. With a model of yours, everything below the training stays as it is: `classifier =
# "path/to/my-nli-model"`.

# %%
import random

import rich
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import whybert

torch.manual_seed(0)
random.seed(0)

# %%
COLOURS = ["red", "blue", "green", "white"]
THINGS = ["door", "car", "house", "boat", "hat", "cup"]
OTHERS = ["the", "is", "was", "old", "new", "it", "very", "big", "small"]
LABELS = ["contradiction", "entailment"]


def pair() -> tuple[tuple[str, str], int]:
    thing, colour = random.choice(THINGS), random.choice(COLOURS)
    label = random.randint(0, 1)
    claimed = colour if label else random.choice([each for each in COLOURS if each != colour])
    size = random.choice(["big", "small"])
    first = random.choice([f"the {size} {thing} was {colour}", f"the {colour} {thing} is very {size}"])
    return (first, random.choice([f"it is {claimed}", f"the {thing} is {claimed}"])), label


rows = [pair() for _ in range(4000)]
rows[:3]

# %%
vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *THINGS, *OTHERS]
words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **special)
config = BertConfig(
    vocab_size=len(vocabulary),
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    max_position_embeddings=32,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    id2label=dict(enumerate(LABELS)),
    label2id={label: place for place, label in enumerate(LABELS)},
)
model = BertForSequenceClassification(config)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(400):
    batch = random.sample(rows, 64)
    inputs = tokenizer(*zip(*(texts for texts, _ in batch), strict=True), padding=True, return_tensors="pt")
    loss = model(**inputs, labels=torch.tensor([label for _, label in batch])).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
print(f"loss {loss.item():.4f}")

# %% [markdown]
# ## A pair is a tuple
#
# A list of pairs is a list of tuples, and two columns of a table are `zip(first, second)`.

# %%
classifier = whybert.Classifier(model, tokenizer, name="colours")
explanations = whybert.explain(
    classifier, [("the big door was red", "it is red"), ("the big door was red", "the door is blue")]
)
explanations

# %% [markdown]
# Both texts get scores, and so a sum each: how much of the decision lies in the sentence, and how much in
# the claim. Special tokens have scores of their own, which no word gets.

# %%
for explanation in explanations:
    sums = [sum(word.score for word in explanation.words() if word.sequence == side) for side in (0, 1)]
    print(f"{explanation.prediction}: sentence {sums[0]:+.2f}, claim {sums[1]:+.2f}")

# %%
figure = explanations[1].plot()
figure.savefig("pair.png")
figure

# %% [markdown]
# ## Why this class and not that one?
#
# A contrast explains the difference of two logits. Where there are two classes it is the clearest question:
# what speaks for both cancels out.

# %%
[contrast] = whybert.explain(
    classifier, ("the big door was red", "the door is blue"), target=("contradiction", "entailment")
)
rich.print(contrast)

# %% [markdown]
# ## What does a word change?
#
# Two pairs that differ in one word, side by side, and both explained for the same class: without a fixed
# target each would be explained for its own. Look at *red* in the sentence. It has a minus in the first
# pair too, where the claim agrees with it; the plus stands at the *red* of the claim. How two words share
# what only both decide is the method's doing.

# %%
fixed = whybert.explain(
    classifier,
    [("the big door was red", "the door is red"), ("the big door was red", "the door is blue")],
    target="entailment",
)
rich.print(whybert.compare(*fixed))
fixed.save("pairs.html")

# %% [markdown]
# What does not hold: that the score of *red* is about *red* alone. Leave one of the two colours out and the
# question has no answer any more; that is why metrics that take single words away (`comparing_methods.py`)
# say less about pairs.
