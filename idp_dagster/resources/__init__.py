"""One per outside party."""
