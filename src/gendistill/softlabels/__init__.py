"""A teacher's outputs on the views of the training images, dumped once."""
