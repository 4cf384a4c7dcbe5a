"""Train a student: `python train.py experiment=kd_div2k [key=value ...]`; see README.md."""

from kd_lightning.commands.train import main

if __name__ == "__main__":
    main()
