"""The training loop and what it keeps: history, progress, snapshots, stopping."""
