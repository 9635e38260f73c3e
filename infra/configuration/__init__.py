"""What a stack is told, read and checked before anything is declared; addresses and network cards as sums on paper."""
