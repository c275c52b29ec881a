"""Methods that end their own process, as the system does where memory runs out. Each notes that it was called
in the folder that KILLERS names.
"""

import os
import signal
from pathlib import Path

from seqrec_nb.batches import register
from seqrec_nb.models.counts import popularity


def called(name) -> int:  # how often, this time included
    path = Path(os.environ["KILLERS"]) / name
    with open(path, "a") as f:
        f.write("x")
    return path.stat().st_size


def end():
    os.kill(os.getpid(), signal.SIGKILL)


@register
def once(ds):
    if called("once") == 1:
        end()
    return popularity(ds)


@register
def always(ds):
    called("always")
    end()


@register
def quiet(ds):
    return popularity(ds)
