"""Compare: runs over each other."""
