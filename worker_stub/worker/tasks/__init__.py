"""The tasks that this worker offers. Their explicit names and keyword names are its contract."""
