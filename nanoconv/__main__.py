"""`python -m nanoconv` is `nanoconv`."""

from .cli import main

main()
