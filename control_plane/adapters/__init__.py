"""PostgreSQL, tokens and the clock on the wall behind the ports of the application."""
