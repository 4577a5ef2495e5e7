#!/bin/sh
# $1 the folder of the kustomization, $2 a workload of it in kube-system
. library/kubectl.sh
# A comparison with nothing takes seconds, so it is skipped in a cluster without the workload.
found=$(api --namespace kube-system get --ignore-not-found --output name "$2") || exit 2
if [ -z "$found" ]; then echo differs; exit 0; fi
# kubectl diff exits with 0 if nothing differs, with 1 if something does, and with more on errors.
api diff --server-side --force-conflicts --field-manager kubeadm-deploys --kustomize "$1" > /dev/null
case $? in 0) echo same ;; 1) echo differs ;; *) exit 2 ;; esac
