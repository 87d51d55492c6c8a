"""Everything: `python benchmarks` runs the projections, the training steps and Deep Image Prior and writes benchmarks/results/."""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent

if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    for name in ("projections", "steps", "dip"):
        sys.argv = [f"{name}.py"]
        runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")
