"""What a BERT has learned: guess masked tokens of held-out text from both sides.

Question  Does predicting masked tokens suffice to know what belongs into a gap?
Command   python experiments/fill_bert.py (the model is kept in results/models/bert)
Cost      6e12 FLOPs, about 75 seconds on one core, once; then seconds
Expected  far above the unigram guess, once the plateau near it is left behind; best inside of words
Result    3.23 nats a mask (unigram guess 6.12), 35.6% right (2.3%); letters inside of words most
"""

from pathlib import Path

import numpy as np
import torch

from scaling.data.corpora import DataConfig
from scaling.data.objectives import cut_windows, make_objective
from scaling.data.tokens import prepare_tokens
from scaling.models.sampling import fill_masks
from scaling.shapes.shape import ModelConfig, shape_for_width
from scaling.training.optim import OptimConfig, make_recipe
from scaling.training.trained import learned, trained_model

FOLDER = Path("results/models/bert")
WIDTH, FLOPS, SEQ_LEN, BATCH = (
    64,
    6e12,
    64,
    64,
)  # a larger batch than the rule's gets off the plateau
TEXTS, SHOWN = 3, 4  # texts, and masks whose candidates are printed


def main():
    """Train or load, tell what was learned, fill the masks of some windows."""
    torch.set_num_threads(1)
    data = prepare_tokens(DataConfig(), report=print)
    shape = shape_for_width(WIDTH, data.vocab_size, ModelConfig(family="bert", seq_len=SEQ_LEN))
    recipe = make_recipe(OptimConfig(batch_tokens=BATCH * shape.window.text), shape, FLOPS)
    model, tokenizer = trained_model(FOLDER, shape, recipe, data, report=print)
    print(learned(model, data))
    objective, index = make_objective(shape, "mlm_mask"), np.arange(TEXTS) * 20
    windows = cut_windows(data.load("valid"), index, objective)
    _, positions, _ = objective(windows, index, None)
    for text, places in zip(windows.tolist(), positions.tolist(), strict=True):
        pieces = ["[?]" if i in places else tokenizer.decode([t]) for i, t in enumerate(text)]
        print(f"\n=== {''.join(pieces)!r}")
        found = fill_masks(model, text, places)
        for place, candidates in list(zip(places, found, strict=True))[:SHOWN]:
            guesses = ", ".join(
                f"{tokenizer.decode([c.token])!r} {c.probability:.0%}" for c in candidates
            )
            print(f"  truth {tokenizer.decode([text[place]])!r}: {guesses}")
        right = sum(text[p] == c[0].token for p, c in zip(places, found, strict=True))
        print(f"  {right} of {len(places)} right")


if __name__ == "__main__":
    main()
