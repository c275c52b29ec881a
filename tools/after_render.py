"Run by Quarto after a render: puts the plotly.js of the plotly package beside the pages that share it."

import os
import shutil
from pathlib import Path

import plotly

site = Path(os.environ.get("QUARTO_PROJECT_OUTPUT_DIR", "_docs"))
if (site / "nbs").is_dir():
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    shutil.copyfile(script, site / "nbs" / "plotly.min.js")
