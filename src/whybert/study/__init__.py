"""The study: several runs of the evaluation, held against the figures of Wu and Ong 2020, as a report."""
