"""Why did a BERT-style text classifier decide as it did?"""

__version__ = "0.1.0"
