"""Facts that more than one section reads; each fact is one shell script, and so one remote command.

Every script works on a bare machine and prints lines of the form ``<key> <value>``. If a tool or file is
missing, its line is omitted. No fact changes anything.
"""
