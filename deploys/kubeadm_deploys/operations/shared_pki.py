"""The certificates and keys that all control planes of a cluster have, on their way from one to the next.

They go over our own connections and on stdin, so that no key is kept in the cluster for the next control plane to
fetch. Source: Kubernetes documentation, "Creating highly available clusters with kubeadm", manual certificate
distribution.
"""

from pyinfra.api.command import QuoteString, StringCommand

FOLDER = "/etc/kubernetes/pki"

FILES = (
    "ca.crt",
    "ca.key",
    "sa.key",
    "sa.pub",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
)
"""Relative to ``FOLDER``."""

# $1 is the folder, the other arguments are files. Prints a line for each: its name, and what it holds in base64.
_READ = """
set -eu
cd "$1"
shift
missing=
for file in "$@"; do if [ ! -s "$file" ]; then missing="$missing $file"; fi; done
if [ -n "$missing" ]; then echo "missing or empty in $PWD:$missing" >&2; exit 1; fi
for file in "$@"; do
  content=$(base64 --wrap 0 "$file") || { echo "$PWD/$file cannot be read" >&2; exit 1; }
  echo "$file $content"
done
"""

# The same arguments, and those lines on stdin. Nothing is written before all of them are there. Modes are kubeadm's.
_WRITE = """
set -eu
mkdir -p "$1/etcd"
cd "$1"
shift
umask 077
work=$(mktemp -d .kubeadm-deploys.XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/etcd"
for file in "$@"; do
  read -r name content && [ "$name" = "$file" ] && [ -n "$content" ] || {
    echo "$file of the cluster's keys did not arrive; none was written" >&2
    exit 1
  }
  base64 --decode > "$work/$file" <<CONTENT
$content
CONTENT
done
for file in "$@"; do
  case $file in *.key) ;; *) chmod 0644 "$work/$file" ;; esac
  mv --force "$work/$file" "$file"
done
"""


def read_command(*, folder: str = FOLDER) -> StringCommand:
    """Prints what ``write_command`` takes; fails, naming the files, when some are missing."""
    return StringCommand("sh", "-c", QuoteString(_READ), "read-pki", QuoteString(folder), *FILES)


def write_command(pki: str, *, folder: str = FOLDER) -> StringCommand:
    """Writes what ``read_command`` printed; fails without having written anything when some of it is missing."""
    script = QuoteString(_WRITE)
    return StringCommand("sh", "-c", script, "write-pki", QuoteString(folder), *FILES, _stdin=pki)
