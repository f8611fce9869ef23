"""Wiring: which ops run in which order."""
