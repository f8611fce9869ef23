"""The business rules as pure code: states, moves, invariants, the request state machine."""
