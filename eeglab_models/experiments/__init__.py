"""Running experiments: what they need offline."""
