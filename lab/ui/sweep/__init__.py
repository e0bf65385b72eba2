"""Sweep: many runs of one form."""
