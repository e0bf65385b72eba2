"""What has nothing to do with a method: options, documents, refusals, numbers."""
