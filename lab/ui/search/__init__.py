"""Search: the best design under a budget."""
