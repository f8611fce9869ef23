"""What people type, a file for each noun."""
