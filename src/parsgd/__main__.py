"""``python -m parsgd`` is the command ``parsgd``."""

from parsgd.cli import main

if __name__ == "__main__":
    main()
