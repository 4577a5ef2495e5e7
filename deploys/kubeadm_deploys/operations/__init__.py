"""What changes machines and is not in pyinfra itself; one module a tool.

Every operation reads at execute time, does nothing when nothing is to be done, and counts as a change
only when it changes something.
"""
