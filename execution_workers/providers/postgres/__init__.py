"""PostgreSQL as issuer of database logins: two login roles of one group take turns."""
