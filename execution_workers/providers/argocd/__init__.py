"""Argo CD's API server, read with a token: what it has synced, and what is unhealthy."""
