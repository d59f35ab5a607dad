"""Data sets, and the views of their images."""
