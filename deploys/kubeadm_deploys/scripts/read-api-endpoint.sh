#!/bin/sh
# $1 the hosts file, $2 its template, $3 a file that exists while pods have to be restarted
#
# With manage_etc_hosts, cloud-init rewrites the file from its template at every boot, and the file says so. A
# file that cannot be read must not be taken for empty, because these files are written back.
hosts() { content=$(base64 -w 0 "$1") || exit 1; echo "hosts:$1 $content"; }
if [ -e "$1" ]; then hosts "$1"; else echo "hosts:$1"; fi
if grep -qs manage_etc_hosts "$1" && [ -f "$2" ]; then hosts "$2"; fi
if [ -e /etc/kubernetes/kubelet.conf ] && [ ! -e /etc/kubernetes/bootstrap-kubelet.conf ]; then
  echo joined
  if [ -e "$3" ]; then echo restart-due; fi
  if [ -e /etc/kubernetes/manifests/kube-apiserver.yaml ]; then echo serves; fi
fi
