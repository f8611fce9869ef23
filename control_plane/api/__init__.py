"""The HTTP surface: who may call, what comes in, what goes out."""
