"""`local-forge`, the Git forge of the embedded default: REST for repositories, git for commits."""
