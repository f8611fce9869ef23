"""What asks the control plane for work and tells it what became of it."""
