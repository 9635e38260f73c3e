"""`make sky-local`: the launch files through the real `sky launch`, on a Slurm cluster that exists for some minutes on
this machine."""
