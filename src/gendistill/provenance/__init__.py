"""Where a result comes from: its ancestors, what today's code would make of it, and what differs between two runs."""
