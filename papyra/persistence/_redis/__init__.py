"""What the Redis backend does to its streams; every function runs in the thread that owns the connection."""
