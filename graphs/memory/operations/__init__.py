"""What an operator does with a whole database; the commands of `graphs.cli` stand on it."""
