"""What the ORM backend does to its tables; every function runs in the thread that owns the connection."""
