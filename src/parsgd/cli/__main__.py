"""Run the command ``parsgd`` as ``python -m parsgd.cli``."""

from parsgd.cli import main

if __name__ == "__main__":
    main()
