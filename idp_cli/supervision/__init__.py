"""Starts, watches and stops every process of the embedded default under one supervisor."""
