"""What the service does, a module a noun. Every read and write names the client."""
