# %% [markdown]
# # Comparing methods
#
# Methods disagree. This page sets them side by side on one text, counts how far they agree over several,
# and asks the question that matters: which of them says what the model really used? It needs
# `whybert[builtin,evaluate]`.

# %%
from pathlib import Path

import rich

import whybert

classifier = whybert.Classifier.of("builtin")
text = "The plot is thin and at times boring, but the cast is charming and nobody left early."
METHODS = ["attnlrp", "cp_lrp", "gs", "gi", "gi:reduction=sum", "lrp", "lat"]
by_method = whybert.explain(classifier, text, method=METHODS)

# %% [markdown]
# ## One text
#
# A row for each method, each scaled to its own largest score, as their units differ: parts of a logit,
# squared gradients, attention. Two scales of colour, because some methods have signs and some have only
# sizes. Those cannot tell *thin* from *charming*.

# %%
figure = whybert.plot_methods(by_method)
figure.savefig("methods.png")
figure

# %% [markdown]
# The same as marks, for the words that are strongest over all methods. Where marks lie together the methods
# agree.

# %%
figure = whybert.plot_methods(by_method, "dot")
figure.savefig("dots.png")
figure

# %% [markdown]
# Two of them word by word: which ones changed sides, and which their place in the order.

# %%
comparison = whybert.compare(by_method["attnlrp"][0], by_method["gi:reduction=sum"][0])
rich.print(comparison)

# %% [markdown]
# ## Sixteen texts with labels
#
# The example writes its own table. Sixteen texts are enough to see how it is done, and far too few to
# decide anything: look at the intervals below, and take some hundreds of your own.

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
data = whybert.load_data("reviews.csv")
found = whybert.evaluate(
    classifier,
    data,
    methods=METHODS,
    metrics=["morf", "lerf", "abpc", "comprehensiveness", "sufficiency", "agreement-kendall"],
)

# %% [markdown]
# ## Which one is faithful?
#
# Words are taken away, the strongest first (MoRF) or the weakest first (LeRF), and the model is asked
# again. A faithful method makes MoRF fall at once and keeps LeRF up. The dotted line is the control, random
# scores: a method that is no better than it says nothing on this question.

# %%
figure = whybert.plot_deletion(found)
figure.savefig("deletion.png")
figure

# %% [markdown]
# The area between the two curves as numbers, with 95 % bootstrap intervals over texts. Where intervals
# overlap widely, sixteen texts do not tell these methods apart.

# %%
from whybert.evaluation.results import agreement, summaries

for summary in sorted(summaries(found), key=lambda each: -each.interval.mean):
    if summary.metric == "abpc":
        mean, low, high, *_ = summary.interval
        print(f"{summary.method:18} {mean:5.2f}  [{low:.2f}, {high:.2f}]")

# %% [markdown]
# ## How far do they agree?
#
# Kendall's tau between the words of two methods, mean over the texts: 1 is the same order, 0 is none. A
# method with signs and one without can both be right and still disagree here: a strong word against the
# class is at the bottom for one and at the top for the other.

# %%
for (first, second), interval in agreement(found, "agreement-kendall").items():
    if "random" not in (first, second):
        print(f"{first:18} {second:18} {interval.mean:5.2f}")

# %% [markdown]
# What does not follow: that the most faithful method here is so on your model, or that agreement means
# truth; two methods can agree and both be wrong. Metrics that take words away show the model texts that
# nobody writes. And what people find convincing is another question (`whybert list metrics`, plausibility).
