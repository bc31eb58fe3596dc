"""``python -m edgekd``: the command line where it is started by another program, torchrun for instance."""

from edgekd.cli import main

if __name__ == "__main__":
    main()
