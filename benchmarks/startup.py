"""How long a user waits before anything happens: imports and the command line's help, against ``import monai``.

    python benchmarks/startup.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import medvlm": ["-c", "import medvlm"],
    "python -m medvlm --help": ["-m", "medvlm", "--help"],
    "python -m medvlm train --help": ["-m", "medvlm", "train", "--help"],
    "import monai": ["-c", "import monai"],
}


def main(rounds: int = 5) -> None:
    """Print the median seconds of each command over ``rounds`` runs, taken in turns, after one warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            if number:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    ratio = medians["import monai"] / medians["python -m medvlm --help"]
    print(json.dumps({"seconds": medians, "import_monai_over_help": round(ratio, 1)}))


if __name__ == "__main__":
    main()
