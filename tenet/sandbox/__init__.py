"""Running code that a model wrote, without Docker and without root: on Linux, by Landlock and seccomp.

A program runs in a process of its own that may read Python's library, write into one small folder that is emptied
afterwards, compute, and nothing else; it is one process (threads are allowed), so that nothing of it can live on. `client` is
what others call, `limits` what it takes and gives; docs/sandbox.md says what is held off, how, and what is not.

Nothing is imported here: the process that programs are forked from must load little (tenet/sandbox/zygote.py).
"""
