"""A supervisor of the real broker alone, with the project's topics."""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from localdev import topics
from localdev.backends import kafka
from localdev.supervisor.run import run

if __name__ == "__main__":
    run([dataclasses.replace(kafka.service(), on_ready=topics.create)])
