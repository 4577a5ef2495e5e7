"""The pyinfra inventory of a cluster, read from the API."""
