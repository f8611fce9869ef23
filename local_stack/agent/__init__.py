"""`local-gitops-agent`: reconciles what the forge holds and publishes what it saw, Flux style."""
