"""Methods that end their own process, as the system does where memory runs out. Each notes that it was called
in the folder that KILLERS names.
"""

import os
import signal
from pathlib import Path

from seqrec_nb.batches import register
from seqrec_nb.methods.counts import Popularity


def called(name) -> int:  # how often, this time included
    path = Path(os.environ["KILLERS"]) / name
    with open(path, "a") as f:
        f.write("x")
    return path.stat().st_size


def end():
    os.kill(os.getpid(), signal.SIGKILL)


@register
class Once(Popularity):
    "It ends its process the first time."

    def __init__(self, *given, **settings):
        if called("once") == 1:
            end()
        super().__init__(*given, **settings)


@register
class Always(Popularity):
    "It ends its process each time."

    def __init__(self, *given, **settings):
        called("always")
        end()


@register
class Quiet(Popularity):
    "It does what it should."
