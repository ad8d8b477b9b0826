"""Train a small neural network to tell the two arms of a spiral apart."""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

BATCH_SIZE = 100


def make_spirals(points, rng):
    """Return points on two spirals, of shape (2 * points, 2), and the spiral of each, 0 or 1."""
    angle = np.sqrt(rng.random(points)) * 3 * np.pi
    arm = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 10
    inputs = np.concatenate([arm, -arm]) + rng.normal(scale=0.02, size=(2 * points, 2))
    labels = np.repeat([0.0, 1.0], points)
    return inputs, labels


class Network:
    """Two hidden layers, and one output: the probability of the second spiral."""

    def __init__(self, hidden, rng):
        sizes = [2, hidden, hidden, 1]
        self.weights = [
            rng.normal(scale=np.sqrt(2 / rows), size=(rows, columns))
            for rows, columns in pairwise(sizes)
        ]
        self.biases = [np.zeros(columns) for columns in sizes[1:]]

    def forward(self, inputs):
        """Return the activations of every layer, the inputs first and the probabilities last."""
        activations = [inputs]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            activations.append(np.tanh(activations[-1] @ weight + bias))
        logits = activations[-1] @ self.weights[-1] + self.biases[-1]
        activations.append(1 / (1 + np.exp(-logits)))
        return activations

    def step(self, inputs, labels, learning_rate):
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
        return loss

    def save(self, path):
        """Write the parameters to an .npz file; one that was there is replaced in one go."""
        parameters = {}
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            parameters[f"weight{layer}"] = weight
            parameters[f"bias{layer}"] = bias
        draft = path.with_suffix(".tmp.npz")
        np.savez(draft, **parameters)
        draft.replace(path)


def train_epoch(network, inputs, labels, learning_rate, rng):
    """Go once through the data in random order, and return the mean loss."""
    order = rng.permutation(len(inputs))
    losses = []
    for start in range(0, len(order), BATCH_SIZE):
        batch = order[start : start + BATCH_SIZE]
        loss = network.step(inputs[batch], labels[batch], learning_rate)
        losses.append(loss)
    return float(np.mean(losses))


def train(epochs, learning_rate, seed, points, checkpoint_dir):
    """Train a new network, write a checkpoint after every epoch, and return the loss of each."""
    rng = np.random.default_rng(seed)
    inputs, labels = make_spirals(points, rng)
    network = Network(hidden=128, rng=rng)
    checkpoint_dir.mkdir(parents=True, exist_ok=True)

    history = []
    # Lines, not one line that is overwritten: a container's log has no cursor to move back.
    bar = "{l_bar}{bar:20}{r_bar}\n"
    progress = tqdm(range(epochs), unit="epoch", mininterval=2, bar_format=bar)
    for _ in progress:
        loss = train_epoch(network, inputs, labels, learning_rate, rng)
        history.append(loss)
        network.save(checkpoint_dir / "last.npz")
        progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
    return history


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=125_000, help="on each spiral")
    parser.add_argument("--checkpoint-dir", type=Path, default=Path("checkpoints"))
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")

    history = train(**vars(options))
    print(f"loss {history[0]:.4f} -> {history[-1]:.4f}")


if __name__ == "__main__":
    main()
