#!/bin/sh
# $1 the ConfigMap of our record, $2 the folder from which Calico is applied
. library/kubectl.sh
errors=$(mktemp) || exit 1
trap 'rm -f "$errors"' EXIT
argument() { sed -n "s/^ *- --$2=//p" "/etc/kubernetes/manifests/$1.yaml" 2> /dev/null; }
limit=40
if objects=$(api --namespace kube-system get configmap/kubeadm-config configmap/kubelet-config configmap/kube-proxy \
  "configmap/$1" daemonset/calico-node configmap/calico-config deployment/hcloud-cloud-controller-manager \
  deployment/hcloud-csi-controller --ignore-not-found --output json 2> "$errors"); then
  echo "objects $(printf %s "$objects" | base64 -w 0)"
  case $objects in
    *'"kind": "DaemonSet"'*)
      # The pool that Calico creates at its first start; later changes of its configuration do not change the
      # pool.
      pool=$(api get ippools.crd.projectcalico.org default-ipv4-ippool --ignore-not-found \
        --output 'jsonpath={.spec.ipipMode} {.spec.vxlanMode}') || exit 1
      echo "pool $pool"
      ;;
  esac
elif ls /etc/kubernetes/manifests/kube-*.yaml > /dev/null 2>&1; then
  echo "silent $(tail -n 1 "$errors")"
  # One of the manifests may be missing, and be the reason why no API server answers.
  echo "file:kubernetesVersion $(sed -n 's/^ *image: .*\/kube-[a-z-]*:v//p' /etc/kubernetes/manifests/kube-*.yaml | head -n 1)"
  echo "file:serviceSubnet $(argument kube-apiserver service-cluster-ip-range)"
  echo "file:podSubnet $(argument kube-controller-manager cluster-cidr)"
  echo "file:clusterName $(argument kube-controller-manager cluster-name)"
  echo "file:controlPlaneEndpoint $(sed -n 's/^ *server: https:\/\///p' /etc/kubernetes/admin.conf | head -n 1)"
  echo "file:dnsDomain $(sed -n 's/^clusterDomain: *//p' /var/lib/kubelet/config.yaml)"
  cd "$2" 2> /dev/null || exit 0
  echo "file:calico $(sed -n 's/^ *image: .*\/node:v//p' "$(sed -n 's/^  - \(calico.*\)/\1/p' kustomization.yaml)" | head -n 1)"
  mode() { sed -n "/CALICO_IPV4POOL_$1\$/{n;s/^ *value: //p}" kustomization.yaml; }
  echo "pool $(mode IPIP) $(mode VXLAN)"
  echo "file:podMtu $(sed -n 's/^ *veth_mtu: "\([0-9]*\)"$/\1/p' kustomization.yaml)"
else
  cat "$errors" >&2
  exit 1
fi
