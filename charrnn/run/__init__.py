"""A run on the disk: the request, the session that trains, and the directory with its lock and logs."""
