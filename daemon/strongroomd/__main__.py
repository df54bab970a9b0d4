"""`python -m strongroomd` is the `strongroomd` command."""

from strongroomd.cli.app import main

if __name__ == "__main__":
    main()
