"""`python -m convergence.cli`."""

from convergence.cli import main

main()
