"""Trained adapters on a text of one's own: a child process with the models."""
