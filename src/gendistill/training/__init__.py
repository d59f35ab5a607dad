"""The training loop, and what it takes: schedule, resume, teachers."""
