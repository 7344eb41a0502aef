"""`python -m decider`: the command line."""

from decider.cli import main

if __name__ == "__main__":
    main()
