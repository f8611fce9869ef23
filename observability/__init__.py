"""What watches the platform: dashboards and alert rules, made from its metrics' definitions."""
