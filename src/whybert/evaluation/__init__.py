"""Which explanation to trust: metrics, a bench that runs them, and the study of the paper.

Nothing here is imported before it is asked for; `whybert.evaluation.bench` is where to begin.
"""
