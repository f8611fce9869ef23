"""Programs of the engines that live in environments of their own, with their lock files."""
