#!/bin/bash
# The rival: creates the same cluster with only the necessary commands, as fast as kubeadm can.
#
# All nodes are prepared in parallel, each by one remote command; images are pulled while packages are
# installed; Calico is applied as soon as the API answers, and workers join as soon as the API has their
# token, both while `kubeadm init` still runs. It lacks the product's safety: it reads no state first,
# verifies no checksums, runs no preflight checks, and cannot run twice.
#
# Lines "done: ..." on stderr report finished steps. Environment variables:
#   HOSTS                first the control plane, then the workers: "name=address name=address ..."
#   ENDPOINT             name of the API server for nodes
#   CLUSTER_NAME, POD_SUBNET, SERVICE_SUBNET
#   KUBERNETES_VERSION, CONTAINERD_VERSION, RUNC_VERSION, CNI_PLUGINS_VERSION, CALICO_VERSION, SANDBOX_IMAGE
#   MIRROR               URL of a mirror, or empty for the official hosts
#   KUBECONFIG_FILE      where to write the administrator's kubeconfig
set -euo pipefail

export TOKEN
TOKEN=$(head -c 100 /dev/urandom | sha256sum | sed -E 's/^(.{6})(.{16}).*/\1.\2/')
read -r -a hosts <<< "$HOSTS"
first=${hosts[0]%%=*}
export FIRST_ADDRESS=${hosts[0]##*=}

# ---- Functions that run on the nodes. ----

milestone() {
  echo "done: $1" >&2
}

quietly() {  # quietly NAME COMMAND...: print its output only if it fails
  "${@:2}" > "/run/$1.log" 2>&1 || { cat "/run/$1.log" >&2; return 1; }
}

settings() {
  set -euo pipefail
  export DEBIAN_FRONTEND=noninteractive
  # A mirror serves upstream URLs by host and path.
  upstream=${MIRROR:-https:/}
  images=/etc/containerd/certs.d
  worker_images=(
    "$SANDBOX_IMAGE" "registry.k8s.io/kube-proxy:v$KUBERNETES_VERSION" quay.io/calico/{node,cni}:"v$CALICO_VERSION"
  )
}

write_files() {
  local minor=${KUBERNETES_VERSION%.*} registry
  mkdir -p /etc/containerd /etc/apt/keyrings /etc/apt/preferences.d /etc/dpkg/dpkg.cfg.d /opt/cni/bin "$images"
  printf '%s\n' overlay br_netfilter > /etc/modules-load.d/k8s.conf
  printf '%s = 1\n' net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables net.ipv4.ip_forward \
    > /etc/sysctl.d/k8s.conf
  sysctl --quiet --load=/etc/sysctl.d/k8s.conf
  echo "$FIRST_ADDRESS $ENDPOINT" >> /etc/hosts
  # The package kubernetes-cni would overwrite the release's plugins with older ones.
  echo 'path-exclude=/opt/cni/bin/*' > /etc/dpkg/dpkg.cfg.d/kubeadm-deploys
  echo "deb [signed-by=/etc/apt/keyrings/kubernetes.asc] $upstream/pkgs.k8s.io/core:/stable:/v$minor/deb/ /" \
    > /etc/apt/sources.list.d/kubernetes.list
  printf '%s\n' 'Package: kubelet kubeadm kubectl' "Pin: version $KUBERNETES_VERSION-*" 'Pin-Priority: 1001' \
    > /etc/apt/preferences.d/kubernetes
  cat > /etc/containerd/config.toml << TOML
version = 4
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "$SANDBOX_IMAGE"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "$images"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "/usr/local/sbin/runc"
  SystemdCgroup = true
TOML
  cat > /etc/systemd/system/containerd.service << UNIT
[Unit]
After=network.target dbus.service
[Service]
ExecStart=/usr/local/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999
[Install]
WantedBy=multi-user.target
UNIT
  for registry in registry.k8s.io quay.io docker.io; do
    if [ "$MIRROR" ]; then
      mkdir "$images/$registry"
      printf 'server = "https://%s"\n[host."%s/v2/%s"]\ncapabilities = ["pull", "resolve"]\noverride_path = true\n' \
        "$registry" "$MIRROR" "$registry" > "$images/$registry/hosts.toml"
    fi
  done
}

install_containerd() {
  local github=$upstream/github.com unpacked=()
  curl -fsSL "$github/containerd/containerd/releases/download/v$CONTAINERD_VERSION/containerd-$CONTAINERD_VERSION-linux-amd64.tar.gz" |
    tar -xz --no-same-owner -C /usr/local bin/ & unpacked+=($!)
  curl -fsSL "$github/containernetworking/plugins/releases/download/v$CNI_PLUGINS_VERSION/cni-plugins-linux-amd64-v$CNI_PLUGINS_VERSION.tgz" |
    tar -xz --no-same-owner -C /opt/cni/bin & unpacked+=($!)
  curl -fsSL -o /usr/local/sbin/runc "$github/opencontainers/runc/releases/download/v$RUNC_VERSION/runc.amd64"
  chmod +x /usr/local/sbin/runc
  for job in "${unpacked[@]}"; do wait "$job"; done
  systemctl enable --now --quiet containerd
}

install_packages() {
  curl -fsSL -o /etc/apt/keyrings/kubernetes.asc \
    "$upstream/pkgs.k8s.io/core:/stable:/v${KUBERNETES_VERSION%.*}/deb/Release.key"
  apt-get -qq update
  quietly apt apt-get -qq install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \
    kubelet kubeadm kubectl cri-tools ca-certificates conntrack ethtool iptables socat
  quietly hold apt-mark hold kubelet kubeadm kubectl cri-tools kubernetes-cni
}

pull() {
  printf '%s\n' "$@" |
    quietly pull xargs -P 4 -I IMAGE ctr --namespace k8s.io images pull --hosts-dir "$images" IMAGE
}

prepare() {  # prepare IMAGE...: install containerd and the packages, and pull these images
  write_files
  install_packages & local packages=$!
  install_containerd
  pull "$@" & local pulled=$!
  wait "$packages"
  wait "$pulled"
}

kubeadm_document() {
  cat << YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: $TOKEN, ttl: 30m0s}]
localAPIEndpoint: {advertiseAddress: $FIRST_ADDRESS}
nodeRegistration:
  name: $NODE
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs: [{name: node-ip, value: $ADDRESS}]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: $CLUSTER_NAME
kubernetesVersion: v$KUBERNETES_VERSION
controlPlaneEndpoint: $ENDPOINT:6443
networking: {podSubnet: $POD_SUBNET, serviceSubnet: $SERVICE_SUBNET}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failSwapOn: false
failCgroupV1: false
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0, min: 0}
YAML
}

calico_kustomization() {
  local mtu plugins
  mtu=$(($(cat /sys/class/net/eth0/mtu) - 50))
  plugins=bandwidth,bridge,dhcp,dummy,firewall,host-device,host-local,ipvlan,loopback,macvlan,portmap,ptp,sbr,static
  cat << YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [calico-vxlan.yaml]
configMapGenerator:
  - name: kubernetes-services-endpoint
    namespace: kube-system
    literals: [KUBERNETES_SERVICE_HOST=$ENDPOINT, KUBERNETES_SERVICE_PORT=6443]
generatorOptions: {disableNameSuffixHash: true}
patches:
  - patch: |-
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: calico-config, namespace: kube-system}
      data: {veth_mtu: "$mtu"}
  - patch: |-
      apiVersion: apps/v1
      kind: DaemonSet
      metadata: {name: calico-node, namespace: kube-system}
      spec:
        template:
          metadata: {annotations: {kubeadm-deploys/api-endpoint: $FIRST_ADDRESS}}
          spec:
            initContainers:
              - name: install-cni
                env: [{name: SKIP_CNI_BINARIES, value: "$plugins,tap,tuning,vlan,vrf"}]
            containers:
              - name: calico-node
                env:
                  - {name: CALICO_IPV4POOL_CIDR, value: $POD_SUBNET}
                  - {name: CALICO_IPV4POOL_VXLAN, value: Always}
                  - {name: CALICO_IPV4POOL_IPIP, value: Never}
                  - {name: IP_AUTODETECTION_METHOD, value: kubernetes-internal-ip}
YAML
}

install_calico() {
  # kubeadm grants the rights of admin.conf only after the API has answered.
  export KUBECONFIG=/etc/kubernetes/super-admin.conf
  mkdir -p /etc/kubernetes/calico
  cd /etc/kubernetes/calico
  curl -fsSLO "$upstream/raw.githubusercontent.com/projectcalico/calico/v$CALICO_VERSION/manifests/calico-vxlan.yaml"
  calico_kustomization > kustomization.yaml
  kubectl kustomize > /run/calico.yaml
  await api_is_ready
  milestone "API ready"
  kubectl apply --server-side --field-manager kubeadm-deploys -f /run/calico.yaml > /dev/null
  milestone "Calico applied"
}

await() {  # await COMMAND...
  local deadline=$((SECONDS + 600))
  until "$@" > /dev/null 2>&1; do
    if [ $SECONDS -ge $deadline ]; then
      echo "error: $* has not succeeded within 600 s" >&2
      exit 1
    fi
    sleep 0.1
  done
}

api_is_ready() {
  curl -fsk "https://$FIRST_ADDRESS:6443/readyz"
}

token_is_known() {  # nodes can join once the API has signed cluster-info with the token
  curl -fsk "https://$FIRST_ADDRESS:6443/api/v1/namespaces/kube-public/configmaps/cluster-info" | grep -q jws-kubeconfig
}

network_is_up() {  # Calico's daemon answers; pods that start earlier fail and are retried after 10 s
  curl -fs http://localhost:9099/readiness
}

control_plane() {
  settings
  prepare "${worker_images[@]}" "quay.io/calico/kube-controllers:v$CALICO_VERSION" \
    registry.k8s.io/kube-{apiserver,controller-manager,scheduler}:"v$KUBERNETES_VERSION"
  milestone "control plane prepared"
  # kubeadm determines the versions of etcd and CoreDNS.
  pull $(kubeadm config images list --kubernetes-version "v$KUBERNETES_VERSION" | grep -E 'etcd|coredns') &
  install_calico & local calico=$!
  kubeadm_document > /run/kubeadm.yaml
  quietly init kubeadm init --config /run/kubeadm.yaml --skip-phases preflight,addon/coredns,show-join-command
  milestone "kubeadm init"
  wait "$calico"
  await network_is_up
  milestone "control plane has its network"
}

prepare_worker() {
  settings
  prepare "${worker_images[@]}"
  milestone "$NODE prepared"
}

join() {
  settings
  await token_is_known
  quietly join kubeadm join --config /dev/stdin --skip-phases preflight << YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken: {token: $TOKEN, apiServerEndpoint: "$ENDPOINT:6443", caCertHashes: ["sha256:$CA_HASH"]}
nodeRegistration:
  name: $NODE
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs: [{name: node-ip, value: $ADDRESS}]
YAML
  milestone "$NODE joined"
  await network_is_up
  milestone "$NODE has its network"
}

finish() {
  settings
  export KUBECONFIG=/etc/kubernetes/admin.conf
  # Only once two nodes can run pods: else both replicas would run on the first one.
  quietly dns kubeadm init phase addon coredns --config /run/kubeadm.yaml
  quietly scale kubectl --namespace kube-system scale deployment calico-kube-controllers --replicas=1
}

await_readiness() {
  settings
  export KUBECONFIG=/etc/kubernetes/admin.conf
  quietly wait kubectl wait --for=condition=Ready --timeout=300s nodes --all
  milestone "nodes Ready"
  quietly wait kubectl --namespace kube-system rollout status --timeout=300s deployment/coredns
  quietly wait kubectl --namespace kube-system wait --for=condition=Ready --timeout=300s pods --all
  milestone "pods Ready"
}

ca_certificate() {
  settings
  await test -s /etc/kubernetes/pki/ca.crt
  cat /etc/kubernetes/pki/ca.crt
}

# ---- Functions that run here. ----

functions=$(declare -f)

on() {  # on NAME=ADDRESS FUNCTION
  docker exec -e MIRROR -e ENDPOINT -e CLUSTER_NAME -e POD_SUBNET -e SERVICE_SUBNET -e KUBERNETES_VERSION \
    -e CONTAINERD_VERSION -e RUNC_VERSION -e CNI_PLUGINS_VERSION -e CALICO_VERSION -e SANDBOX_IMAGE \
    -e FIRST_ADDRESS -e TOKEN -e CA_HASH -e NODE="${1%%=*}" -e ADDRESS="${1##*=}" \
    "${1%%=*}" bash -c "$functions; $2"
}

make_worker() {  # make_worker NAME=ADDRESS
  on "$1" prepare_worker
  await test -s "$work/ca-hash"
  CA_HASH=$(cat "$work/ca-hash") on "$1" join
}

pin_ca() {
  on "${hosts[0]}" ca_certificate | openssl x509 -pubkey -noout | openssl pkey -pubin -outform der |
    sha256sum | cut -c1-64 > "$work/partial"
  mv "$work/partial" "$work/ca-hash"
}

work=$(mktemp -d)
trap 'rm -rf "$work"; jobs -rp | xargs --no-run-if-empty kill' EXIT

on "${hosts[0]}" control_plane & control_plane=$!
pin_ca & workers=()
for worker in "${hosts[@]:1}"; do
  make_worker "$worker" & workers+=($!)
done
wait "$control_plane"
wait "${workers[0]}"
on "${hosts[0]}" finish
for job in "${workers[@]:1}"; do wait "$job"; done
on "${hosts[0]}" await_readiness
umask 077
docker exec "$first" cat /etc/kubernetes/admin.conf |
  sed "s|server: .*|server: https://$FIRST_ADDRESS:6443\n    tls-server-name: $ENDPOINT|" > "$KUBECONFIG_FILE"
milestone "kubeconfig"
