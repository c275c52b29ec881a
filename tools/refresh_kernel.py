"In a notebook's kernel: each figure that is displayed leaves a summary of what it plots. See refresh.py."

import math

import numpy as np


def _short(x):
    return float(f"{float(x):.6g}") if math.isfinite(x) else str(x)


def numbers(x) -> list:  # [how many, mean, standard deviation, first, last] of an array
    x = np.ma.filled(np.ma.asarray(x, dtype=float), np.nan).ravel()
    x = x[np.isfinite(x)]
    return [len(x), *([_short(x.mean()), _short(x.std()), _short(x[0]), _short(x[-1])] if len(x) else [])]


def summary(fig) -> list:  # an entry for each axes
    "The data of a matplotlib figure: lines, points, patches, images and texts."
    from matplotlib import collections, image, lines, patches, text

    out = []
    for ax in fig.axes:
        here = {"title": ax.get_title(), "x": ax.get_xlabel(), "y": ax.get_ylabel()}
        for a in ax.get_children():
            if isinstance(a, lines.Line2D):
                entry = ["line", numbers(a.get_xdata(orig=False)), numbers(a.get_ydata(orig=False))]
            elif isinstance(a, collections.PathCollection):
                entry = ["points", *(numbers(v) for v in np.asarray(a.get_offsets()).T)]
            elif isinstance(a, collections.Collection):
                entry = ["paths", numbers(np.concatenate([p.vertices for p in a.get_paths()] or [[]]))]
            elif isinstance(a, patches.Patch) and a is not ax.patch:
                entry = ["patch", numbers(a.get_path().transformed(a.get_patch_transform()).vertices)]
            elif isinstance(a, image.AxesImage):
                entry = ["image", numbers(a.get_array())]
            elif isinstance(a, text.Annotation):
                entry = ["label", a.get_text()]
            else:
                continue
            here.setdefault("data", []).append(entry)
        out.append(here)
    return out


def prepare():
    """Every figure that IPython shows has 200 dpi and its summary in the metadata of its output; no cell of a
    table is cut.
    """
    import pandas as pd

    pd.set_option("display.max_colwidth", None)
    import matplotlib.pyplot  # noqa: F401, makes the inline backend register its formats first
    from IPython import get_ipython
    from IPython.core import pylabtools
    from matplotlib.figure import Figure

    shell, choose = get_ipython(), pylabtools.select_figure_formats

    def with_summary(show):
        def shown(fig):
            result = show(fig)
            if result is None:
                return None
            data, metadata = result if isinstance(result, tuple) else (result, {})
            return data, {**metadata, "plotted": summary(fig)}

        return shown

    def wrap():
        for f in shell.display_formatter.formatters.values():
            if Figure in f.type_printers:
                f.for_type(Figure, with_summary(f.type_printers[Figure]))

    def select(*given, **kw):
        choose(*given, **kw)
        wrap()

    pylabtools.select_figure_formats = select
    import matplotlib_inline.backend_inline as inline

    if hasattr(inline, "select_figure_formats"):
        inline.select_figure_formats = select
    select(shell, {"retina"})
