"""What a GPT has learned: continue held-out text greedily and by temperature, top-k and top-p.

Question  Does predicting the next token suffice to write on, and what do the ways of drawing differ
          in?
Command   python experiments/sample_gpt.py (the model is kept in results/models/gpt)
Cost      6e12 FLOPs, about 1 minute on one core, once; then seconds
Expected  greedy repeats itself; hot and unfiltered falls apart; top-k and top-p lie between
Result    3.80 nats/token (unigram guess 6.11), 23.6% right (2.5%); greedy goes round in circles
          (32-50% distinct triples), every other way does not (98-100%) and makes up half its words
"""

from pathlib import Path

import torch

from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.models.sampling import Sampler, generate
from scaling.shapes.shape import ModelConfig, shape_for_width
from scaling.training.optim import OptimConfig, make_recipe
from scaling.training.trained import learned, trained_model

FOLDER = Path("results/models/gpt")
WIDTH, FLOPS, SEQ_LEN = 64, 6e12, 128
PROMPTS, PROMPT, NEW = 2, 48, 64  # texts, their tokens, and how many are added
WAYS = {
    "greedy": {},
    "temperature 1": {"temperature": 1.0},
    "temperature 0.7": {"temperature": 0.7},
    "top-k 20": {"temperature": 1.0, "top_k": 20},
    "top-p 0.8": {"temperature": 1.0, "top_p": 0.8},
}


def distinct(tokens):
    """Share of distinct triples of tokens: low where a text repeats itself."""
    triples = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return len(set(triples)) / len(triples)


def main():
    """Train or load, tell what was learned, continue texts in every way."""
    torch.set_num_threads(1)
    data = prepare_tokens(DataConfig(), report=print)
    shape = shape_for_width(WIDTH, data.vocab_size, ModelConfig(seq_len=SEQ_LEN))
    recipe = make_recipe(OptimConfig(), shape, FLOPS)
    model, tokenizer = trained_model(FOLDER, shape, recipe, data, report=print)
    print(learned(model, data))
    valid = data.load("valid")
    for i in range(PROMPTS):
        tokens = valid[i * 1000 : i * 1000 + PROMPT + NEW].tolist()
        print(f"\n=== {tokenizer.decode(tokens[:PROMPT])!r}")
        print(f"  truth: {tokenizer.decode(tokens[PROMPT:])!r}")
        for name, way in WAYS.items():
            sampler = Sampler(**way, generator=torch.Generator().manual_seed(i))
            new = generate(model, tokens[:PROMPT], NEW, sampler)
            print(f"  {name} ({distinct(new):.0%} distinct triples): {tokenizer.decode(new)!r}")


if __name__ == "__main__":
    main()
