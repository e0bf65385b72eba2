"""The parts of benchmarks/accelerator.py. Each gives rows, plain dictionaries, and stops between two of them when its time is over."""
