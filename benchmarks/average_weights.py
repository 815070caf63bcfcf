"""Average weights of one architecture: weight-space ensembling (model soups, Wortsman et al., ICML 2022).

    python benchmarks/average_weights.py SHARE=WEIGHTS … -o OUT.safetensors

WEIGHTS is a name or a file; the shares add up to 1. OUT has the metadata of the last one. All must be fine-tuned from
the same weights. Kernels become bfloat16 numbers, as `cista train` does after training with mixed precision, but not
with --fp32, for weights whose images drift in bf16. Thresholds theta below zero become zero.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import safe_open

from cista_ros.networks import find_weights, load_network, save_network


def main() -> None:
    """Average, and keep the metadata of the last weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", metavar="SHARE=WEIGHTS")
    parser.add_argument("--fp32", action="store_true", help="do not round the kernels")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    parts = [(float(share), find_weights(name)) for share, _, name in (part.partition("=") for part in options.parts)]
    if abs(sum(share for share, _ in parts) - 1) > 1e-6:
        raise SystemExit("the shares do not add up to 1")
    networks = [load_network(file) for _, file in parts]
    network = networks[-1]
    if any(other.config != network.config for other in networks):
        raise SystemExit(f"the architectures differ: {', '.join(str(other.config) for other in networks)}")
    states = [other.state_dict() for other in networks]
    mixed = {key: sum(share * state[key] for (share, _), state in zip(parts, states, strict=True)) for key in states[0]}
    mixed = {key: value.clamp(min=0) if key.endswith("theta") else value for key, value in mixed.items()}
    if not options.fp32:
        mixed = {key: value.bfloat16().float() if value.ndim == 4 else value for key, value in mixed.items()}
    network.load_state_dict(mixed)
    with safe_open(parts[-1][1], "pt") as file:
        metadata = dict(file.metadata() or {})
    own = {"name", "iterations", "sequences", "hours", "machine", "scores", "training"}
    save_network(network, options.output, {key: value for key, value in metadata.items() if key in own})


if __name__ == "__main__":
    main()
