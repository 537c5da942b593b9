"""What an answer becomes: a Dataset, a file, a plot."""
