"""The use cases: what a command or a run brings about, in one transaction each."""
