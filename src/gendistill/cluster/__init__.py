"""Running on a cluster: what a site must say."""
