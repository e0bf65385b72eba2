"""Where a delta can sit in a model, from its configuration alone."""
