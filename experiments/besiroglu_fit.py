"""The fit of the Chinchilla law that the planner ships, with the draws behind its intervals.

Question  What do the 240 points of Hoffmann et al. 2022, read off by Besiroglu et al. 2024, say of
          N_opt and D_opt, and how surely?
Command   python experiments/besiroglu_fit.py   (fetches the table, or reads $SCALING_DATA_DIR)
Cost      a few seconds on one core
Expected  18-20 tokens per parameter at 5.76e23 FLOPs, with an interval that contains 20
Result    73.2B [54.3B, 105B] parameters, 1.31T [0.91T, 1.77T] tokens, 17.9 [8.7, 32.5] tokens per
          parameter: 20 is well inside. scaling/planning/besiroglu2024.json
"""

from pathlib import Path

import scaling.planning
from scaling import fit_law

TABLE = "epoch2024"
DRAWS = 2000
BUDGET = 5.76e23  # FLOPs: Chinchilla's, Hoffmann et al. 2022, table 3
TARGET = Path(scaling.planning.__file__).with_name("besiroglu2024.json")


def main():
    """Fit, say what the fit asks for at Chinchilla's budget, and write it into the package."""
    fit = fit_law(TABLE, bootstrap=DRAWS)
    print(fit)
    for quantity in ("N_opt", "D_opt", "L_opt", "tokens_per_param"):
        print(f"{quantity} at {BUDGET:g} FLOPs: {getattr(fit, quantity)(BUDGET)!r}")
    fit.save(TARGET)


if __name__ == "__main__":
    main()
