# %% [markdown]
# # The paper on one page
#
# Wu and Ong 2020, [*On Explaining Your Explanations of BERT*](https://arxiv.org/abs/2101.00196), compare
# four methods on sentiment. The notebook `lrp_visualize` released with it draws heat maps, and others rank
# words, take words away and compare methods. This page does each of these with whybert, the released calls
# beside ours. It needs `whybert[builtin,evaluate]`.
#
# | released | whybert |
# |---|---|
# | a model of the repository's own, made with `init_lrp=True` | `Classifier.of(any model, folder or name)` |
# | `model.backward_gradient(...)`, squared norm over hidden | `method="gs"` |
# | `model.backward_gradient_input(...)`, squared norm over hidden | `method="gi"` |
# | `model.backward_lrp(relevance_score)`, sum of absolute values | `method="lrp"` |
# | `model.backward_lat(input_ids, attention_probs)` | `method="lat"` |
# | 12 layers and 12 heads, BERT | any number, any of the [models](../docs/methods.md) |
# | scores of word pieces, joined by hand | `explanation.words()`, or `level="token"` |
#
# In float64 the numbers are those of the released code to 1e-9. They are explanations of another model,
# though: the paper has BERT-base, fine-tuned on four data sets, and this page the built-in six layers.
# `whybert study` runs the paper's experiments on models and data sets of yours, and
# [results](../docs/results/README.md) has what came out.

# %%
from pathlib import Path

import whybert

classifier = whybert.Classifier.of("builtin")
FOUR = ["gs", "gi", "lrp", "lat"]

# %% [markdown]
# ## Heat maps
#
# The released notebooks explain the *last* class whatever the model predicts; `target="positive"` does the
# same here, and without it the predicted class is explained. None of the four has signs: they say how much
# a word counts, not which way. Look at *bland* and *charming*.

# %%
text = "it 's a charming and often affecting journey , though bland in places ."
by_method = whybert.explain(classifier, text, method=FOUR, target="positive")
figure = whybert.plot_methods(by_method)
figure.savefig("paper_heat_maps.png")
figure

# %% [markdown]
# With the modern rules beside them, which have signs:

# %%
figure = whybert.plot_methods(whybert.explain(classifier, text, method=[*FOUR, "attnlrp"], target="positive"))
figure.savefig("paper_and_attnlrp.png")
figure

# %% [markdown]
# ## Words
#
# The paper ranks words by their mean score over a data set, softmax(|score|) over the tokens of each text.
# Here it is over the words, which do not depend on the tokenizer. The example makes its own sixteen texts;
# for a ranking that says something take a data set (`whybert.load_data("sst2", "SST2")`) and words that
# occur often.

# %%
REVIEWS = """\
positive,a charming and often affecting journey through the lives of three old friends
positive,the cast is wonderful and the story is told with warmth and a light hand
positive,a funny and moving film that never tries too hard to please anyone
positive,one of the best films of the year with a script that trusts its audience
positive,beautifully shot and quietly powerful it stays with you for days
positive,the dialogue is sharp the pace is brisk and the ending is a delight
positive,an honest and tender portrait of a family that learns to talk again
positive,smart and entertaining from the first scene to the very last one
negative,unflinchingly bleak and desperate with nothing to say about either of them
negative,the plot is thin the jokes are stale and the acting is wooden
negative,a dull and lifeless mess that wastes a talented cast on a bad script
negative,it goes on for two hours and feels like four of them and worse
negative,the film is so clumsy that even its best scenes fall flat on their face
negative,a tired remake that adds nothing but noise and a bigger budget
negative,i could not care about any of these people or what happens to them
negative,a boring story told badly with music that never knows when to stop
"""
Path("reviews.csv").write_text("label,text\n" + REVIEWS, encoding="utf-8")
texts = [line.split(",", 1)[1] for line in REVIEWS.splitlines()]
explained = whybert.explain(classifier, texts, method=FOUR)
for method in FOUR:
    figure = whybert.plot_word_scores(explained[method], normalise=True, k=12)
    figure.savefig(f"paper_words_{method}.png")
figure

# %% [markdown]
# As numbers, beside each other. Much of what stands on top are words like *the* and *a*: sixteen texts, and
# methods without signs.

# %%
from whybert.evaluation.agreement import word_correlation, word_scores

ranked = {method: word_scores(explained[method], minimum_count=2) for method in FOUR}
for method, scores in ranked.items():
    top = sorted(scores, key=lambda word: -scores[word].mean)[:6]
    print(f"{method:4} {', '.join(top)}")

# %% [markdown]
# ## Taking words away
#
# Accuracy when the 1 to 10 strongest tokens get the id 0, on texts of ten tokens or more that the model
# decides rightly: the paper's measure. The lower the better, and the dotted line is random scores, which
# the paper has not.

# %%
data = whybert.load_data("reviews.csv")
metrics = ["deletion-paper", "agreement-kendall"]
found = whybert.evaluate(classifier, data, methods=[*FOUR, "attnlrp"], metrics=metrics)
figure = whybert.plot_deletion(found, "deletion-paper")
figure.savefig("paper_deletion.png")
figure

# %% [markdown]
# ## Agreement
#
# Between methods, Kendall's tau of the words of each text, and Pearson's r of the mean scores of words,
# which the paper takes between data sets. Within a text `gs` and `gi` are nearly the same order; `lat`
# looks at attention and agrees with nobody.

# %%
from whybert.evaluation.results import agreement

for (first, second), interval in agreement(found, "agreement-kendall").items():
    if first in FOUR and second in FOUR:
        r, words = word_correlation(ranked[first], ranked[second])
        print(f"{first:4} {second:4} tau {interval.mean:5.2f}   r {r:5.2f} over {words} words")

# %% [markdown]
# What does not follow: anything about the paper's own figures. Sixteen sentences written for this page show
# how each of its questions is asked, and no more.
