#!/usr/bin/env bash
# What each machine or pod does before its stage: the disk that all nodes share where one is named, and a Python environment.
# Called by `setup` of every file here, with the file's envs.
set -euo pipefail

refuse() { echo "sky/setup.sh: $1" >&2; exit 2; }

if [ -n "${LUSTRE:-}" ]; then
  case "$RUNS" in /fsx/*) ;; *) refuse "LUSTRE is mounted on /fsx and RUNS is $RUNS; give --env RUNS=/fsx/checkpoints" ;; esac
elif [ "${SKYPILOT_NUM_NODES:-1}" -gt 1 ] && [ "$RUNS" = /runs ]; then
  refuse "$SKYPILOT_NUM_NODES nodes and a bucket, which shows the files of one node to the others too late; give --env LUSTRE=... (docs/researcher.md)"
fi

if [ -n "${LUSTRE:-}" ] && ! mountpoint -q /fsx; then
  if ! command -v mount.lustre >/dev/null; then # AWS's packages, for the kernel that runs
    repository=https://fsx-lustre-client-repo
    curl -fsSL $repository-public-keys.s3.amazonaws.com/fsx-ubuntu-public-key.asc | gpg --dearmor | sudo tee /usr/share/keyrings/fsx-lustre.gpg >/dev/null
    echo "deb [signed-by=/usr/share/keyrings/fsx-lustre.gpg] $repository.s3.amazonaws.com/ubuntu $(lsb_release -cs) main" |
      sudo tee /etc/apt/sources.list.d/fsx-lustre.list >/dev/null
    sudo apt-get update -qq
    sudo apt-get install -y -qq "lustre-client-modules-$(uname -r)"
  fi
  sudo mkdir -p /fsx
  sudo mount -t lustre -o noatime,flock "$LUSTRE" /fsx
fi
# In a pod /fsx is there, as a volume (`tenet sky objects`); a new one has no folder yet, and belongs to root.
if mountpoint -q /fsx && [ ! -w "$RUNS" ]; then
  sudo mkdir -p "$RUNS"
  sudo chown "$(id -u)" "$RUNS"
fi

# The environment of the working directory goes on where it was killed, and costs nothing where it is whole; any other is its owner's affair.
if [ "$VENV" = .venv ]; then
  command -v python3.11 >/dev/null || (sudo apt-get update -qq && sudo apt-get install -y -qq python3.11-venv)
  make install PYTHON=python3.11
elif [ ! -x "$VENV/bin/python" ]; then
  refuse "VENV is $VENV and there is no Python in it; make one there, or leave VENV out and .venv is made"
fi
