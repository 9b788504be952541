"""``python -m antiseche``."""

from antiseche.app import entry_point

if __name__ == "__main__":
    entry_point()
