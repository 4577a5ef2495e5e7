#!/bin/sh
# Prints the names of the images that containerd has for Kubernetes; none if it does not run, without waiting
# for it.
ctr --connect-timeout 3s --namespace k8s.io images list --quiet 2> /dev/null
exit 0
