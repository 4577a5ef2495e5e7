"""What is there: one fact a section, each one shell script and so one remote command.

Every script works on a bare machine and prints lines of the form ``<key> <value>``; a missing tool or
file leaves its line out. No fact changes anything.
"""
