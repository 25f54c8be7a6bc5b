"""What the service does: one module for each noun. Every read and write names the client."""
