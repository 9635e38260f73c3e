"""Who hears when money or service goes wrong."""
