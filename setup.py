"Everything that can be set is in settings.ini."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(here / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]
lab, dev = cfg["lab_requirements"].split(), cfg["dev_requirements"].split()
# what a part of the library needs, by the name of the extra
parts = {n: cfg[f"{n}_requirements"].split() for n in ("ray", "search", "parquet", "export", "serve")}
readme = here / "README.md"

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license="Apache-2.0",
    keywords=cfg["keywords"],
    url=cfg["git_url"] or None,
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    extras_require={"lab": lab, "dev": lab + dev + sum(parts.values(), []), **parts},
    # data/ is at the root; an installed copy finds it as seqrec_nb/_data
    packages=find_packages(include=["seqrec_nb", "seqrec_nb.*"]) + ["seqrec_nb._data"],
    package_dir={"seqrec_nb._data": "data"},
    # with the stored runs, so that a page of the book says the same without a checkout
    package_data={
        "seqrec_nb.play": ["*.js"],
        "seqrec_nb._data": ["*.json", "*.txt", "*.tsv", "results/*.run", "results/weights/*.run"],
    },
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)
