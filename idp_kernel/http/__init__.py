"""HTTP between the services: problems, the outbound client, what every server has."""
