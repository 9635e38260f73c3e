"""Where the tasks of the corpus run beside this machine: Ray, Slurm."""
