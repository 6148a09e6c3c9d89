from pathlib import Path
FOLDER = Path("results/parallel")
def write_page(x): pass
