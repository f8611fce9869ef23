"""What the embedded default starts: PostgreSQL, OpenBao, a Git forge and a GitOps agent."""
