"""The server: prediction, review and search over HTTP."""
