"""What decider costs, measured beside what a user would have without it: `python -m tests.benchmarks --help`."""
