"""Remove nodes and reset clusters."""
