"""A double of the Hetzner Cloud API: its data formats, errors and asynchronous actions over HTTP.

`server.running` serves it inside a test, `python -m tests.lab.hetzner serve` for other processes.
"""
