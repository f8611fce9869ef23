"""`idp apply`: a file that says what shall be, compared with the platform and brought about."""
