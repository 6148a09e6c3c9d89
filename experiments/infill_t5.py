"""What a T5 has learned: write what stood in hidden spans of held-out text.

Question  Does span corruption suffice to know what is missing, and how long it is?
Command   python experiments/infill_t5.py (the model is kept in results/models/t5)
Cost      1e13 FLOPs, about 2.5 minutes on one core, once; then seconds
Expected  single tokens far above the unigram guess; whole spans seldom right
Result    4.39 nats a hidden token (unigram guess 6.16), 13.0% right (2.0%); of 300 spans 6 are
          right and 60 of the right length: it writes likely text where it cannot know
"""

from pathlib import Path

import numpy as np
import torch

from scaling.data.corpora import DataConfig
from scaling.data.objectives import count_windows, cut_windows, make_objective
from scaling.data.tokens import prepare_tokens
from scaling.models.sampling import infill
from scaling.models.spans import rebuild, spans_of
from scaling.shapes.shape import ModelConfig, shape_for_width
from scaling.training.optim import OptimConfig, make_recipe
from scaling.training.trained import learned, trained_model

FOLDER = Path("results/models/t5")
WIDTH, FLOPS, SEQ_LEN, BATCH = 64, 1e13, 64, 32
LR_SCALE = (
    0.4  # at the rule's rate T5 ends 0.35 nats a target worse (6e12 FLOPs, 59 windows a step)
)
TEXTS, COUNTED = 3, 100  # texts printed, and texts whose spans are counted


def main():
    """Train or load, tell what was learned, fill the spans of some windows."""
    torch.set_num_threads(1)
    data = prepare_tokens(DataConfig(), report=print)
    shape = shape_for_width(WIDTH, data.vocab_size, ModelConfig(family="t5", seq_len=SEQ_LEN))
    optim = OptimConfig(batch_tokens=BATCH * shape.window.text, lr_scale=LR_SCALE)
    recipe = make_recipe(optim, shape, FLOPS)
    model, tokenizer = trained_model(FOLDER, shape, recipe, data, report=print)
    print(learned(model, data))
    objective, valid = make_objective(shape), data.load("valid")
    index = np.linspace(0, count_windows(len(valid), objective) - 1, COUNTED).astype(int)
    windows = cut_windows(valid, index, objective)
    inputs, targets = objective(windows, index, None)
    right = total = lengths = 0
    for i, text in enumerate(windows.tolist()):
        spans = spans_of(inputs[i].tolist(), targets[i].tolist(), shape)
        filled = infill(model, text, spans)
        truth = [text[start:stop] for start, stop in spans]
        total += len(spans)
        right += sum(ours == theirs for ours, theirs in zip(filled, truth, strict=True))
        lengths += sum(len(o) == len(t) for o, t in zip(filled, truth, strict=True))
        if i < TEXTS:
            hidden = rebuild(text, spans, [tokenizer.encode("[?]").ids] * len(spans))
            print(f"\n=== {tokenizer.decode(hidden)!r}")
            for ours, theirs in zip(filled, truth, strict=True):
                print(f"  truth {tokenizer.decode(theirs)!r}: {tokenizer.decode(ours)!r}")
    print(f"\n{right} of {total} spans right, {lengths} of the right length")


if __name__ == "__main__":
    main()
