"""Data: tasks from files of one's own."""
