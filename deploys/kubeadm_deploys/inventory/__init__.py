"""Read pyinfra's inventory and data, and the inventory of docker hosts."""
