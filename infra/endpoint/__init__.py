"""What serves: the way in, the machines, the task on them, and the keys of those who call."""
