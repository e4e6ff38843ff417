"""turgor."""
