"""Flux, read from the Kubernetes API with a service account's token."""
