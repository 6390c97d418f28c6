"""A run on the disk: from a request to a session, its directory, its lock and its logs."""
