"""Present: one method on the whole screen; arrow keys walk the space, one dimension at a time."""
