module kubeadm-deploys/mirror

go 1.26.0
