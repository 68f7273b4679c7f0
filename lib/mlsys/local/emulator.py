"""bqemulator with partitions: `python -m mlsys.local.emulator start ...`."""

from bqemulator.cli import main

from mlsys.local.partitions import install

if __name__ == "__main__":
    install()
    main()
