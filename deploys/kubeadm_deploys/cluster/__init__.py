"""What a run knows about the cluster: its leader, its members and settings, and how machines join it.

Only functions called ``ask_...`` or ``wait_...`` contact machines; the values that they return do not.
"""
