"""The launch files in `sky/`: checked before anything is rented, written for other clusters, joined into a pipeline."""
