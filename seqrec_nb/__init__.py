__version__ = "0.2.0"

import os as _os

# How long an idle OpenMP thread spins before it sleeps; read once, when torch is first imported. Unset, two
# threads on one core block each other for milliseconds; asleep at once, each operation waits for the thread
# to wake.
_os.environ.setdefault("GOMP_SPINCOUNT", "10000")
