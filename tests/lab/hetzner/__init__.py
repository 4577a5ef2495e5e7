"""A double of the Hetzner Cloud API: its shapes, its errors and its asynchronous actions over HTTP.

`server.running` serves it inside a test; `python -m tests.lab.hetzner serve` serves it for other processes.
"""
