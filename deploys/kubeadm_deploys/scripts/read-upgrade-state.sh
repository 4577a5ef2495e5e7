#!/bin/sh
# What only an upgrade reads of a machine. Arguments are names of static pods.
. library/kubectl.sh
limit=40
manifests=/etc/kubernetes/manifests
for name in "$@"; do
  image=$(sed -n 's/^ *image: *//p' "$manifests/$name.yaml" 2> /dev/null | head -n 1)
  if [ -n "$image" ]; then echo "image:$name $image"; fi
done
# kubeadm copies etcd's data to /etc/kubernetes before it replaces etcd.
free=$(df --output=avail --block-size=1M /etc/kubernetes 2> /dev/null | tail -n 1)
if [ -n "$free" ]; then echo "free $((free))"; fi
if [ -d /var/lib/etcd/member ]; then echo "etcd $(du --summarize --block-size=1M /var/lib/etcd/member | cut -f 1)"; fi

# kubeadm writes the manifests anew from the cluster's configuration: what people have changed in them would be
# lost. Only kubeadm of the manifests' own release writes the same ones, so after its upgrade nothing is compared.
release=$(sed -n 's/^ *image: .*\/kube-apiserver:v//p' $manifests/kube-apiserver.yaml 2> /dev/null)
if [ -z "$release" ] || [ "$(kubeadm version --output short 2> /dev/null)" != "v$release" ]; then exit 0; fi
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/wanted"
address=$(sed -n 's/^ *- --advertise-address=//p' $manifests/kube-apiserver.yaml)
api --namespace kube-system get configmap kubeadm-config --output 'jsonpath={.data.ClusterConfiguration}' \
  > "$folder/config" 2> /dev/null || exit 0
# As soon as the first control plane is upgraded, the cluster's configuration has the new release.
sed -i "s/^kubernetesVersion: .*/kubernetesVersion: v$release/" "$folder/config"
printf '\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nlocalAPIEndpoint:\n  advertiseAddress: %s\n' \
  "$address" >> "$folder/config"
KUBEADM_INIT_DRYRUN_DIR=$folder/wanted kubeadm init phase control-plane all --config "$folder/config" --dry-run \
  > /dev/null 2>&1 || exit 0
echo compared
number=0
for name in "$@"; do
  wanted=$(find "$folder/wanted" -name "$name.yaml")
  if [ -z "$wanted" ]; then continue; fi
  # kubeadm adds volumes for folders of certificates that the machine has got since: nobody has removed those.
  diff "$wanted" "$manifests/$name.yaml" | sed -n 's/^> */has /p; s/^< *\(- --\)/lacks \1/p' > "$folder/edits"
  while read -r edit; do
    number=$((number + 1))
    echo "edit:$number $name.yaml $edit"
  done < "$folder/edits"
done
exit 0
