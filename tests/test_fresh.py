"Outputs that are stored in the notebooks are what their code gives today."

import nbformat
import pytest
import refresh
from matplotlib.figure import Figure
from refresh_kernel import summary

out = nbformat.v4.new_output


def test_texts_are_compared_but_for_what_varies():
    same, other = refresh.same_text, lambda a, b: not refresh.same_text(a, b)
    assert same("NDCG 0.1234 in 3.1 s, code 9ea33f190d", "NDCG 0.1234 in 12 s, code 0123456789+abcdef")
    assert same("0.5712", "0.5713") and other("0.5712", "0.5812") and other("22,363 users", "22,364 users")
    assert other("held", "did not hold") and other("a 1", "a 1 2") and other("best epoch 41", "best epoch 42")


def test_tables_are_compared_but_for_columns_of_times():
    def table(seconds, figure):
        return out(
            "display_data",
            {
                "text/html": (
                    "<table><tr><th></th><th>s/epoch</th><th>NDCG</th></tr>"
                    f"<tr><th>a</th><td>{seconds}</td><td>{figure}</td></tr></table>"
                )
            },
        )

    assert not refresh.difference(table(1.5, 0.1234), table(99.0, 0.1234))
    assert "row 1" in refresh.difference(table(1.5, 0.1234), table(1.5, 0.1334))


def test_figures_are_compared_by_what_they_plot():
    def drawn(last, label="a"):
        ax = Figure().subplots()
        ax.plot([1, 2, last], label=label)
        ax.scatter([0, 1], [2, last])
        ax.bar([0], [last])
        ax.set_title(label)
        return summary(ax.figure)

    assert refresh.same_numbers(drawn(3.0), drawn(3.0)) and not refresh.same_numbers(drawn(3.0), drawn(3.1))
    assert not refresh.same_numbers(drawn(3.0), drawn(3.0, "b"))

    def shown(data):
        return out("display_data", {"image/png": "x"}, metadata={"image/png": {"plotted": data}})

    assert not refresh.difference(shown(drawn(3.0)), shown(drawn(3.0)))
    assert refresh.difference(shown(drawn(3.0)), shown(drawn(4.0))) == "the data of a figure"
    assert "refresh the notebook" in refresh.difference(
        out("display_data", {"image/png": "x"}), shown(drawn(3.0))
    )


def test_a_changed_notebook_is_found(tmp_path):
    v4, path = nbformat.v4, tmp_path / "x.ipynb"
    nb = v4.new_notebook(
        cells=[
            v4.new_code_cell("import matplotlib.pyplot as plt\nplt.plot([1, 2, 3]);"),
            v4.new_code_cell("1 + 1"),
        ]
    )
    nbformat.write(nb, path)
    nbformat.write(refresh.execute(path), path)
    assert refresh.differences(path) == []
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source = nb.cells[0].source.replace("3", "4")
    nb.cells[1].source = "1 + 2"
    nbformat.write(nb, path)
    assert [what for _, what in refresh.differences(path)] == ["the data of a figure", "'2', now '3'"]


@pytest.mark.parametrize("nb", refresh.notebooks(["95", "97", "98"]), ids=lambda p: p.stem)
def test_pages_made_of_the_package_are_fresh(nb):
    "Notation, equations and API: what they show changes when a docstring or a setting does."
    found = refresh.differences(nb)
    assert not found, f"{[what for _, what in found]}: make refresh NB={nb.name[:2]}"


@pytest.mark.slow
@pytest.mark.parametrize("nb", refresh.notebooks([]), ids=lambda p: p.stem)
def test_stored_outputs_are_fresh(nb):
    found = refresh.differences(nb)
    assert not found, (
        "".join(f"\n{nb.name}, cell {cell}: {what}" for cell, what in found)
        + f"\nmake refresh NB={nb.name[:2]}"
    )
