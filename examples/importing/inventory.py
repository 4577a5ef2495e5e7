"""One machine that is to have a container runtime."""

runtimes = ["203.0.113.20"]
