"""What stands behind the name of the API, one module a kind.

Each has ``worker_address``: to which address a worker resolves the name. ``current`` is what it resolves it to now,
empty when to nothing, and ``control_planes`` are the members of the cluster whose API server answers.
"""
