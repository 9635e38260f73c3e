"""What was made and how: the data card, what stands beside it, and the way back from it."""
