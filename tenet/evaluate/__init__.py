"""Step 8: tasks, scoring, statistics."""
