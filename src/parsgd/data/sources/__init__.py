"""Where rows come from, and how they split into shards."""
