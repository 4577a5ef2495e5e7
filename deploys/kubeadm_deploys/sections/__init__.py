"""One module for each section of the guide: its fact, the wanted state, the difference, the operations."""
