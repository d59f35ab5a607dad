"""Networks: one family per module."""
