"""A method as data: deltas, forms, rules, counts."""
