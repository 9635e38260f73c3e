"""What training runs on: the cluster, its nodes and the shared file system."""
