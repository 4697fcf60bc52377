"""What a worker does, how many reports to wait for, and how reports merge."""
