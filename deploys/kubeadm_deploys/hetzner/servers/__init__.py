"""Create and delete a cluster's servers, network, firewall and load balancer."""
