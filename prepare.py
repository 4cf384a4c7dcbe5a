"""Download, verify, pair, teacher pass, store: `python prepare.py data=div2k [key=value ...]`."""

from kd_lightning.commands.prepare import main

if __name__ == "__main__":
    main()
