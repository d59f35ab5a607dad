"""What is measured on trained networks: ensembles, transfer, statistics."""
