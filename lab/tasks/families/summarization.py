"""Summarization: XSum (arXiv 1808.08745), CNN/DailyMail, and Debian's package descriptions. ROUGE; beam 6, 10-60 tokens for XSum."""

from __future__ import annotations

from lab.tasks.families.writing import CHRF, ROUGES, Writing


class Summarization(Writing):
    """document → summary."""

    name = "summarization"
    title, zh = "Summarization", "摘要"
    metrics = (*ROUGES, CHRF)
    main = "rouge2"  # He et al. choose checkpoints by ROUGE-2
    prompt = "{source}\n\nIn one sentence:"
    one_line = True
    verb = "write a summary"
