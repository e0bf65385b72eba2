"""Summarization: XSum (arXiv 1808.08745), CNN/DailyMail, and Debian's package descriptions. ROUGE; beam 6, 10-60 tokens for XSum."""

from __future__ import annotations

from lab.tasks.writing import Writing


class Summarization(Writing):
    """document → summary."""

    name = "summarization"
    prompt = "{source}\n\nIn one sentence:"
    one_line = True
    verb = "write a summary"
