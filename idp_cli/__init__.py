"""`idp`: what platform engineers and application teams type."""
