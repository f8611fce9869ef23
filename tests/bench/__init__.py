"""What the platform is measured with, beside others that do the same work: `make bench`."""
