"""Steps 9 and 10: weights to where a server takes them from, and the Bedrock Runtime wire in front of them."""
