"""OpenBao (and Vault): secret values in a KV version 2 store, written with check-and-set."""
