#!/bin/sh
# The arguments are those of etcdctl, which is asked on this control plane.
. library/etcdctl.sh
etcdctl "$@"
