"""Three small models of the same compute, a GPT, a BERT and a T5, and what they say.

Question  What does each family write or fill in, and how sure is it, after 6e12 FLOPs on enwik8?
Command   python experiments/samples.py    (it trains what is not there, then samples)
Cost      three models of 6e12 FLOPs, some six minutes each on a core; the samples a minute
Expected  the GPT writes words that hang together for a few tokens; BERT, which sees both sides,
          fills more gaps right than T5, whose gaps are longer; examples in the prompt do not help
Result    the GPT at 3.79 nats/token names 23.8% of the next tokens (the unigram guess 2.5%) and
          writes in circles when greedy; of solved examples in the prompt it learns little: 46.8%
          right without, 55.5% with eight, chance 50 %. The BERT fills 135 of 640 gaps of one token,
          the T5 6 of 192 longer ones. results/samples
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from scaling.files import write_text
from scaling.training.records import CONFIG

FOLDER = Path("results/samples")
TRAIN = (
    "scaling.sweep family={0} name=sample-{0} grid.budgets=[6e12] grid.widths=[64] "
    "save_models=true fit.bootstrap=0{1}"
)
OWN = {  # what each family learns well with: see experiments/LOG.md
    "gpt": "",
    "bert": " model.seq_len=64 model.objective=mlm_mask optim.batch_tokens=4096",
    "t5": " model.seq_len=64 optim.batch_tokens=2240 optim.lr_scale=0.4",
}
PROMPT = "'prompt=The history of the city'"
LOOK = f"{PROMPT} compare=true measure=true shots=[0,1,2,5,8] tasks=400 vectors=true attention=true"
FILL = "measure=true texts=64"
HOW = {"gpt": LOOK, "bert": FILL, "t5": FILL}


def run(words):
    """Run a command of the laboratory, show it first, and return it as one would type it."""
    print(f"python -m {words}", flush=True)
    subprocess.run([sys.executable, "-m", *shlex.split(words)], check=True, env=dict(os.environ))
    return f"python -m {words}"


def main():
    """Train, sample, list the commands."""
    told = ["# What three small models say", "Made by `python experiments/samples.py`:"]
    for family, how in HOW.items():
        lines = [run(TRAIN.format(family, OWN[family]))]
        saved = sorted(Path(f"results/sample-{family}/models").glob(f"*/{CONFIG}"))[0].parent
        lines.append(run(f"scaling.sample model={saved} {how} out={FOLDER / family}"))
        told += [f"[{family}]({family}/README.md)", "```\n" + "\n".join(lines) + "\n```"]
    write_text(FOLDER / "README.md", "\n\n".join(told) + "\n")


if __name__ == "__main__":
    main()
