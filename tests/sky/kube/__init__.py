"""Launches on a real Kubernetes that exists for some minutes on this machine.

TENET_KUBE names a folder with two programs, as a machine or a CI has them:

    up FOLDER --context NAME --nodes N              an API server; nodes in name only, with 8 H100 and 32 EFA cards, labelled as EKS does it
    up FOLDER --context NAME --run N --images DIR   a cluster whose pods run, each node with a kubelet and a container runtime of its own
    up FOLDER --down                                the end of either
    image DIR                                       archives of what its pods run, localhost/sky:1

`up` prints KUBECONFIG=PATH. Where the variable is not set, the tests that want it are skipped with that reason.
"""
