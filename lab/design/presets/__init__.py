"""What is found by name: the built-in presets, the lab's own, the papers' tables."""
