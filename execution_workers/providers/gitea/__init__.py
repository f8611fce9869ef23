"""Gitea, and Forgejo, which has the same REST API: `docs/providers/gitea.md`."""
