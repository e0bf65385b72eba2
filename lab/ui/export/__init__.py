"""Export: a run's adapter in every format."""
