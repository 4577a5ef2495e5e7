"""The checks before a run changes anything."""
