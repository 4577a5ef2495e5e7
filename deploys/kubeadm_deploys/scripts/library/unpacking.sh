# shellcheck shell=sh
# Ends what a killed run has left of unpacking a snapshot.

# $1 the folder with the snapshot.
end_unpacking() {
  # What was left may still write there. Usually there is nothing, which is an error; if it cannot be deleted, the next
  # container is refused, because its name is taken.
  ctr --namespace k8s.io tasks delete --force kubeadm-deploys-restore > /dev/null 2>&1 || true
  ctr --namespace k8s.io containers delete kubeadm-deploys-restore > /dev/null 2>&1 || true
  rm -rf "$1/unpacking"
}
