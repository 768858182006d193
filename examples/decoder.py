# %% [markdown]
# # A decoder that classifies
#
# Llama, Qwen, Gemma and GPT-2 classify with the last token of a text. Nothing has to be said about them:
# `whybert.explain((model, tokenizer), texts)` is all. Here a small Llama is made and trained in seconds, on a
# task whose right answer is known word by word, so that it can be seen whether an explanation is right.

# %%
import random

import rich
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

import whybert

torch.manual_seed(0)
random.seed(0)

# %% [markdown]
# ## The task
#
# The label is the colour that follows *pick*. Up to three other colours, of any kind, are there to distract,
# and all other words mean nothing. So two words decide: *pick* and the colour behind it.

# %%
COLOURS = ["red", "green", "blue"]
FILLING = ["the", "box", "lid", "is", "and", "a", "shelf", "near", "with", "small", "old", "label", "then"]


def example() -> tuple[str, int]:
    words = random.choices(FILLING, k=random.randint(4, 9))
    for colour in random.choices(COLOURS, k=random.randint(0, 3)):
        words.insert(random.randint(0, len(words)), colour)
    label, place = random.randrange(3), random.randint(0, len(words))
    words[place:place] = ["pick", COLOURS[label]]
    return " ".join(words), label


texts, labels = zip(*(example() for _ in range(4000)), strict=True)
texts[:3], [COLOURS[label] for label in labels[:3]]

# %% [markdown]
# ## The model
#
# A Llama of two layers with RMSNorm, rotary positions, grouped queries and SwiGLU: the classes of
# transformers, only smaller. The tokenizer closes each text with `[END]`, which is what the head reads. A
# padding token has to be named, or transformers refuses batches.

# %%
vocabulary = ["[PAD]", "[UNK]", "[END]", "pick", *COLOURS, *FILLING]
words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.post_processor = processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 2)])
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]", model_max_length=64
)
model = LlamaForSequenceClassification(
    LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        id2label=dict(enumerate(COLOURS)),
        label2id={colour: place for place, colour in enumerate(COLOURS)},
    )
)

# %%
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(350):
    rows = random.sample(range(len(texts)), 64)
    batch = tokenizer([texts[row] for row in rows], padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    loss = nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([labels[row] for row in rows]))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
model.eval()
print(f"loss {loss.item():.4f}")

# %% [markdown]
# ## The explanation

# %%
classifier = whybert.Classifier(model, tokenizer, name="small Llama")
fresh, truths = zip(*(example() for _ in range(200)), strict=True)
answers = classifier.predict(list(fresh))
print(f"right on {sum(a.predicted == t for a, t in zip(answers, truths, strict=True)) / len(fresh):.0%}")

explanations = whybert.explain(
    classifier, ["the red box and pick blue near a green shelf", "pick green the old lid is red then blue"]
)
explanations

# %% [markdown]
# *pick* and the colour behind it speak for the answer. The scores are of the tensor that enters the first
# layer: the words as Llama looks them up. Positions are not in it, since rotary embeddings come into the
# attention later; the audit names the point.

# %%
figure = whybert.plot_methods(
    whybert.explain(classifier, "the red box and pick blue near a green shelf", ["attnlrp", "cp_lrp", "lat"])
)
figure.savefig("decoder.png")
figure

# %% [markdown]
# ## Why blue and not red
#
# A contrast asks what tells two answers apart. Both colours count here, with opposite signs.

# %%
[contrast] = whybert.explain(
    classifier, "the red box and pick blue near a green shelf", target=("blue", "red")
)
for word in contrast.top(4):
    print(f"{word.text:6} {word.score:+.2f}")

# %% [markdown]
# ## The last token
#
# The head reads `[END]`, and what it carries by itself has a score like any token's. It is no word, so words
# and rankings leave it out; tokens show it. This Llama has no biases, so under CP-LRP tokens alone are the
# logit.

# %%
[exact] = whybert.explain(classifier, "pick green the old lid is red then blue", "cp_lrp")
print(*(f"{token.text} {token.score:+.2f}" for token in exact.tokens), sep=", ")
print(f"sum {sum(token.score for token in exact.tokens):.4f}, logit {exact.completeness.logit:.4f}")

# %% [markdown]
# ## Do they find what is known?
#
# Over fresh texts: how often the strongest word is the picked colour or *pick*, and not one of the other
# colours, which a careless method would point to as well. Chance is the share of the two words in a text. A
# decoder has no mask token, so methods that mask by default are told what else to do.

# %%
methods = [
    "attnlrp",
    "cp_lrp",
    "input_x_gradient",
    "integrated_gradients:n_steps=16,baseline=pad",
    "leave_one_out:by=delete",
    "lat",
]
for spec, listed in whybert.explain(classifier, list(fresh), method=methods).items():
    hits = sum(each.top(1)[0].text in ("pick", each.prediction) for each in listed)
    print(f"{spec:45} {hits / len(fresh):.0%}")
chance = sum(2 / len(text.split()) for text in fresh) / len(fresh)
print(f"{'chance':45} {chance:.0%}")

# %% [markdown]
# ## Is it explained rightly?

# %%
audit = whybert.audit(classifier, list(fresh[:3]), methods=["attnlrp", "cp_lrp", "gi"])
rich.print(audit)

# %% [markdown]
# What does not follow: that a large decoder is as easy to read. Its first token often takes much for reasons
# that have to do with attention and not with the text, its prompt template is a part of the text, and the
# [books](../docs/audit.md) may show constants that outweigh the tokens. Look at the line of completeness.
