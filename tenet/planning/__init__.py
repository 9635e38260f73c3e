"""Parts of `tenet plan`: what is assumed, how long a step takes, what interruptions cost, serving, the search, the
tables."""
