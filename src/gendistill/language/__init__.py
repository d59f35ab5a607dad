"""Language models: text data sets, training, soft labels (Born-Again Neural Networks, 2018, section 4.2)."""
