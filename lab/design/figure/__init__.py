"""A method as figure and equation."""
