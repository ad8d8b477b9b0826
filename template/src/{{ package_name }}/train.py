"""Train a small neural network to tell the two arms of a spiral apart."""

import argparse
import json
import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

BATCH_SIZE = 100
HIDDEN = 128

log = logging.getLogger(__name__)
Array = NDArray[np.float64]


def make_spirals(points: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return points on two spirals, of shape (2 * points, 2), and the spiral of each, 0 or 1."""
    angle = np.sqrt(rng.random(points)) * 3 * np.pi
    arm = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 10
    inputs = np.concatenate([arm, -arm]) + rng.normal(scale=0.02, size=(2 * points, 2))
    labels = np.repeat([0.0, 1.0], points)
    return inputs, labels


class Network:
    """Two hidden layers, and one output: the probability of the second spiral."""

    def __init__(self, hidden: int, rng: np.random.Generator) -> None:
        sizes = [2, hidden, hidden, 1]
        self.weights = [
            rng.normal(scale=np.sqrt(2 / rows), size=(rows, columns))
            for rows, columns in pairwise(sizes)
        ]
        self.biases = [np.zeros(columns) for columns in sizes[1:]]

    def forward(self, inputs: Array) -> list[Array]:
        """Return the activations of every layer, the inputs first and the probabilities last."""
        activations = [inputs]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            activations.append(np.tanh(activations[-1] @ weight + bias))
        logits = activations[-1] @ self.weights[-1] + self.biases[-1]
        activations.append(1 / (1 + np.exp(-logits)))
        return activations

    def step(self, inputs: Array, labels: Array, learning_rate: float) -> float:
        """Take one step of gradient descent on a batch, and return the loss before it."""
        activations = self.forward(inputs)
        probabilities = activations[-1][:, 0]
        loss = -np.mean(np.log(np.where(labels == 1, probabilities, 1 - probabilities) + 1e-12))

        gradient = (probabilities - labels)[:, None] / len(labels)
        for layer in reversed(range(len(self.weights))):
            below = activations[layer]
            weight_gradient = below.T @ gradient
            bias_gradient = gradient.sum(axis=0)
            gradient = (gradient @ self.weights[layer].T) * (1 - below**2)
            self.weights[layer] -= learning_rate * weight_gradient
            self.biases[layer] -= learning_rate * bias_gradient
        return float(loss)


def save_plot(history: list[float], path: Path) -> None:
    """Draw the loss of each epoch into an image file."""
    # matplotlib takes a while to import: the start of a training should not wait for it
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(history) + 1), history)
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    figure.savefig(path)


def save_checkpoint(
    path: Path,
    network: Network,
    rng: np.random.Generator,
    history: list[float],
    settings: dict[str, float],
) -> None:
    """Write what a training needs to resume. Replace an older checkpoint in a single step."""
    state = {"settings": settings, "history": history, "rng": rng.bit_generator.state}
    arrays: dict[str, Any] = {"state": json.dumps(state)}
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        arrays[f"weight{layer}"] = weight
        arrays[f"bias{layer}"] = bias
    draft = path.with_suffix(".tmp.npz")
    np.savez(draft, **arrays)
    draft.replace(path)


def load_checkpoint(
    path: Path,
    network: Network,
    rng: np.random.Generator,
    settings: dict[str, float],
    epochs: int,
) -> list[float]:
    """Restore an interrupted training with these settings, and return its losses.

    Restore nothing and return [] if its settings were different, or if it has finished.
    """
    if not path.exists():
        return []
    with np.load(path) as checkpoint:
        state = json.loads(str(checkpoint.get("state", "{}")))
        if state.get("settings") != settings or len(state["history"]) >= epochs:
            return []
        for layer in range(len(network.weights)):
            network.weights[layer] = checkpoint[f"weight{layer}"]
            network.biases[layer] = checkpoint[f"bias{layer}"]
    rng.bit_generator.state = state["rng"]
    history: list[float] = state["history"]
    return history


def train_epoch(
    network: Network,
    inputs: Array,
    labels: Array,
    learning_rate: float,
    rng: np.random.Generator,
) -> float:
    """Go once through the data in random order, and return the mean loss."""
    order = rng.permutation(len(inputs))
    losses = []
    for start in range(0, len(order), BATCH_SIZE):
        batch = order[start : start + BATCH_SIZE]
        loss = network.step(inputs[batch], labels[batch], learning_rate)
        losses.append(loss)
    return float(np.mean(losses))


def train(
    epochs: int, learning_rate: float, seed: int, points: int, checkpoint_dir: Path
) -> list[float]:
    """Train a network, write a checkpoint after every epoch, and return the loss of each.

    Resume an interrupted training from its checkpoint. Plot the losses at the end.
    """
    rng = np.random.default_rng(seed)
    inputs, labels = make_spirals(points, rng)
    network = Network(hidden=HIDDEN, rng=rng)
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoint_dir / "last.npz"
    settings = {
        "learning_rate": learning_rate,
        "seed": seed,
        "points": points,
        "batch_size": BATCH_SIZE,
        "hidden": HIDDEN,
    }

    history = load_checkpoint(checkpoint, network, rng, settings, epochs)
    if history:
        log.info("resuming after epoch %d/%d", len(history), epochs)
    # Show a progress bar in a terminal only: in a container's log, the lines below are enough.
    progress = tqdm(range(len(history), epochs), initial=len(history), total=epochs, disable=None)
    with logging_redirect_tqdm():
        for epoch in progress:
            loss = train_epoch(network, inputs, labels, learning_rate, rng)
            history.append(loss)
            save_checkpoint(checkpoint, network, rng, history, settings)
            log.info("epoch %d/%d: loss %.4f", epoch + 1, epochs, loss)
    save_plot(history, checkpoint_dir / "loss.png")
    return history


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=125_000, help="on each spiral")
    parser.add_argument("--checkpoint-dir", type=Path, default=Path("checkpoints"))
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")

    logging.basicConfig(format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    history = train(**vars(options))
    print(f"loss {history[0]:.4f} -> {history[-1]:.4f}")


if __name__ == "__main__":
    main()
