"""`local-gitops-agent`, the reconciler of the embedded default, read with a token of its own."""
