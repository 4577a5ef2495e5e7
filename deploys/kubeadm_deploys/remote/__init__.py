"""Access to machines: connections, readings and their answers, and the values that belong to one run."""
