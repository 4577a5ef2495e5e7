#!/bin/sh
# Arguments are those of etcdctl, which runs on this control plane.
. library/etcdctl.sh
etcdctl "$@"
