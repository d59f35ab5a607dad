"""A teacher's outputs on every view of every training image, dumped once."""
