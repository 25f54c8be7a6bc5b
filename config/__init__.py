"""Settings, logging and the server's configuration."""
