"""Run by Quarto after a render: puts the plotly.js of the plotly package beside the pages that share it, and
writes llms.txt, the list of all pages for programs that read the site (https://llmstxt.org).
"""

import json
import os
import re
import shutil
from configparser import ConfigParser
from pathlib import Path

import plotly
import yaml

ROOT = Path(__file__).parent.parent


def head(page: Path) -> tuple[str, str]:  # of a notebook: title, subtitle
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    first = next("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.match(r"# (.+)\n+> (.+)", first).groups()


def address(page: str) -> str:  # "nbs/01_data.ipynb" -> where it is published, or from the site's root
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    host, base = config["DEFAULT"]["doc_host"], config["DEFAULT"]["doc_baseurl"].strip("/")
    return f"{host}/{base}/".removeprefix(f"/{base}/") + page.replace(".ipynb", ".html")


def llms() -> str:
    "All pages in the order of the sidebar, each with its title and subtitle."
    site = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]
    lines = [f"# {site['title']}", "", f"> {site['description']}", ""]
    for part in site["sidebar"]["contents"]:
        pages = [part] if isinstance(part, str) else part["contents"]
        lines += [] if isinstance(part, str) else ["", f"## {part['section']}", ""]
        for page in pages:
            title, subtitle = head(ROOT / page)
            lines.append(f"- [{title}]({address(page)}): {subtitle}")
    return "\n".join(lines) + "\n"


def main():
    site = Path(os.environ.get("QUARTO_PROJECT_OUTPUT_DIR", "_docs"))
    if not (site / "nbs").is_dir():
        return
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    shutil.copyfile(script, site / "nbs" / "plotly.min.js")
    (site / "llms.txt").write_text(llms(), encoding="utf-8")


if __name__ == "__main__":
    main()
