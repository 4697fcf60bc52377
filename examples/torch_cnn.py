"""A CNN on two worker processes with DiLoCo: scikit-learn's digits, or Fashion-MNIST if its folder is given."""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from parsgd import DiLoCo
from parsgd.torch import Trainer


def read(folder: Path | None) -> list[np.ndarray]:
    """Return images and classes: training and test images, training and test classes."""
    if folder is None:
        pixels, classes = load_digits(return_X_y=True)
        return train_test_split(pixels / 16, classes, test_size=0.2, random_state=0)
    with np.load(folder / "fashion_mnist.npz") as parts:
        return [parts["X_train"] / 255, parts["X_test"] / 255, parts["y_train"], parts["y_test"]]


def make_cnn(side: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Unflatten(1, (1, side)), nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * (side // 4) ** 2, 10)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="folder with fashion_mnist.npz; by default the digits")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    X, X_test, y, y_test = read(arguments.folder)
    side = int(X.shape[1] ** 0.5)
    X, X_test = (part.reshape(-1, side, side).astype(np.float32) for part in (X, X_test))
    X, X_val, y, y_val = train_test_split(X, y.astype(np.int64), test_size=0.1, random_state=0)
    trainer = Trainer(
        make_cnn(side),
        nn.CrossEntropyLoss(),
        optimizer=lambda params: torch.optim.AdamW(params, lr=0.003),
        algorithm=DiLoCo(sync_every=10),
        engine="processes",
        n_workers=2,
        on_epoch=lambda t: print(f"epoch {t.n_epochs_}: validation loss {t.validation_losses_[-1]:.3f}", flush=True),
    )
    trainer.fit((X, y), validation=(X_val, y_val), epochs=arguments.epochs)
    with torch.no_grad():
        found = torch.cat([trainer.module(part).argmax(1) for part in torch.from_numpy(X_test).split(1000)])
    print(f"test accuracy {np.mean(found.numpy() == y_test):.3f}")


if __name__ == "__main__":
    main()
