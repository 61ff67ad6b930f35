"""One small GPT in seven ways: `python -m benchmarks.ladder`, a file for each of them."""
