"""What each workflow does to the domain: one module for each, and the registry of them."""
