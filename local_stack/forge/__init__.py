"""`local-forge`: git over smart HTTP with platform tokens and enforced branch protection."""
