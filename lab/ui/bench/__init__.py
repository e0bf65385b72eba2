"""Bench: the draft of a design, its knobs, figure, equation, count and costs."""
