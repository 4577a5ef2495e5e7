"""The lock of a run, and the report of a failed one."""
