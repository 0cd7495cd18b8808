"""The textbook models, written from the papers: in Paddle (`paddle`), and in NumPy and float64 (`exact`)."""
