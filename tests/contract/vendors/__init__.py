"""Whether what the providers send is what the vendors' own descriptions allow."""
