"""One outward step each."""
