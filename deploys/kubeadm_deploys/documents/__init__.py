"""The content of files: kubeadm's documents, hosts files, kubeconfigs, keyrings."""
