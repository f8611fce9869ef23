"""GitHub, at github.com or as an Enterprise Server: `docs/providers/github.md`."""
