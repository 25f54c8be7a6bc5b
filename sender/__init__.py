"""The process that sends deliveries to webhooks: `flask webhooks send`.

No other process loads this package, nor the HTTP client that it uses.
"""
