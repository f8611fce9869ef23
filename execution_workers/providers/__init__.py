"""Outside parties, one folder each: client, error table, actions. `registry` chooses by setting."""
