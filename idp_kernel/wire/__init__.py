"""What the services say to each other, one model per message."""
