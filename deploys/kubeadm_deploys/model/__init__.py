"""The desired cluster: options, nodes and known releases. Nothing here accesses a machine."""
