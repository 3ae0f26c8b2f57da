"""How Sphinx builds the site, once `make site` has executed the notebooks and gathered all in build/source.

Nothing is fetched while pages are read: formulas are MathML, which browsers draw themselves.
"""

import inspect
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet

project = "eeglab_models"
author = "The eeglab_models developers"
copyright = author  # noqa: A001
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# The notebooks were executed before.
nb_execution_mode = "off"
# A widget needs a running kernel, and scripts from elsewhere; the figure after it shows what it shows.
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]

# What scikit-learn adds to every estimator is described there.
requests = [f"set_{method}_request" for method in ("fit", "partial_fit", "predict", "predict_proba", "score")]
autodoc_default_options = {"exclude-members": ", ".join([*requests, "set_transform_request"])}
autodoc_member_order = "bysource"
# Types stand in the descriptions.
autodoc_typehints = "none"
# Blocks of text in docstrings are lists of names.
highlight_language = "none"
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False

# Types such as "shape (n_chans,)" lead to the first of several descriptions of n_chans, which are alike.
suppress_warnings = ["ref.python"]
# Parts of other pages.
exclude_patterns = ["CHANGELOG.md", "results/table.md"]

html_theme = "sphinx_book_theme"
html_title = "eeglab_models"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_theme_options = {
    "repository_url": "https://github.com/eeglab-models/eeglab_models",
    "use_repository_button": True,
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    },
    "show_toc_level": 2,
    # The search field stands in the side bar already.
    "navbar_persistent": [],
}


def setup(app):
    """Register the renderer of formulas and the page that is made of the classes."""
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))
    app.connect("builder-inited", write_contracts)
    app.connect("autodoc-process-signature", read_signature)
    app.connect("autodoc-process-docstring", keep_lines)


def write_inline(translator, node):
    """Write a formula in a line of text."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def write_block(translator, node):
    """Write a formula on a line of its own."""
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def read_signature(app, what, name, thing, options, signature, returns):
    """Show what a constructor takes, where a base class of another library hides it."""
    if signature == "(*args, **kwargs)":
        names = inspect.signature(thing).parameters.values()
        names = [name.replace(annotation=inspect.Parameter.empty) for name in names]
        signature = str(inspect.Signature(names))
    return signature, returns


def keep_lines(app, what, name, thing, options, lines):
    """Show the list of names at the head of a module line by line."""
    lines[:] = [f"{line}:" if line.endswith("names throughout:") else line for line in lines]


def write_contracts(app):
    """Write a page with the contract of every model, as the classes state it."""
    page = [
        "# What each model expects",
        "Every class states what its weights were trained with, where that is written, and what nobody has "
        "documented. `prepare` brings a recording there or says why it cannot.",
    ]
    for model in (CodeBrain, EEGPT, EEGDINO, FBLightConvNet):
        page += [f"## {model.__name__}", model.contract._repr_html_()]
    (Path(app.srcdir) / "contracts.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
