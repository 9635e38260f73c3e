"""What training and the endpoint both stand on: the network, and the buckets with their key."""
