"""The cluster as a run knows it: who leads, what it says of itself, and how others join it.

Functions that ask machines are called ``ask_...`` or ``wait_...``; what they give are values, and those ask nobody.
"""
