"""What the API has, a module a kind."""
