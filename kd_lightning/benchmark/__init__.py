"""Quality and speed measurements."""
