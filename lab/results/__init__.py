"""What runs came to, for pages and the terminal alike: results, comparisons, and the papers' numbers beside them. Torch-free."""
