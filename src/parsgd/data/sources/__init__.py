"""Row sources and their partition into shards."""
