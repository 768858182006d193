# %% [markdown]
# # Quick start
#
# From a model to a picture of its reasons. `builtin` is a small sentiment model that comes with `pip
# install 'whybert[builtin,plot]'`; put your own in its place: the path of a folder, the name of a model on
# the hub, a `pipeline`, a pair `(model, tokenizer)`, or a module of your own (`own_model.py`).

# %%
import rich

import whybert

classifier = whybert.Classifier.of("builtin")
[explanation] = whybert.explain(classifier, "The plot is thin, but the cast is charming.")
explanation

# %% [markdown]
# Red words speak for the decision, blue ones against it. In a terminal it is `rich.print`:

# %%
rich.print(explanation)

# %% [markdown]
# The same as values. Scores are raw: parts of the logit that is explained, never scaled to look good. The
# books say how much of the logit the words account for, how much lies in the model's biases, and what is
# left over.

# %%
print(explanation.prediction, explanation.probability)
for word in explanation.top(3):
    print(f"{word.text:10} {word.score:+.3f}")
print(explanation.completeness)

# %% [markdown]
# ## Pictures
#
# A figure of matplotlib shows itself in a notebook and goes into a paper as PDF. It can be read without
# colours: lines are whole for and broken against, and as thick as the score is large.

# %%
figure = explanation.plot()
figure.savefig("heat.pdf")
figure

# %%
figure = explanation.plot("bar")
figure.savefig("bar.png")
figure

# %% [markdown]
# ## Many texts
#
# Texts go in as a list, a column of a table, or anything else that can be looped over. What comes out is a
# list that shows itself, becomes a table, and is saved by the suffix of a file: a page to send on, JSON
# lines or Parquet to read back.

# %%
texts = [
    "A charming and often affecting journey.",
    "Unflinchingly bleak and desperate.",
    "The acting is good, the story is not.",
    "Charming, but the story is bleak.",
]
explanations = whybert.explain(classifier, texts)
explanations.save("why.html")
explanations.save("why.jsonl")
assert whybert.load("why.jsonl") == explanations
explanations

# %%
table = explanations.to_pandas()
table[["index", "prediction", "word", "score"]].head()

# %% [markdown]
# Which words matter over all texts? Here a word must stand in two of them. The bar says how often it spoke
# for and against the class of its text.

# %%
figure = whybert.plot_word_scores(explanations, minimum_count=2)
figure.savefig("words.png")
figure

# %% [markdown]
# ## What it does not say
#
# An explanation says what the *model* did, not whether it was right, and nothing about the world. Another
# method can give other scores for the same decision (`comparing_methods.py`). And a word with a small score
# may still be needed: scores are shares of this decision, not what would happen without the word.
