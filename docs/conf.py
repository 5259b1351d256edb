"""Settings of the documentation site; `make docs` builds it without a network."""

import os
from importlib import metadata

# Notebooks run in a child process, which inherits these: no telemetry, no log messages of TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

project = "Pneumoscope"
author = "The Pneumoscope contributors"
version = release = metadata.version("pneumoscope")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.typer",
]
exclude_patterns = ["_build"]

# Each notebook is executed at each build; an error in a cell fails the build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "remove"  # progress bars and log messages
nb_render_markdown_format = "myst"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

# Docstrings write code in single backticks.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "Pneumoscope"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["_static"]
# Pages without subpages need no navigation beside them.
html_sidebars = {
    name: []
    for name in (
        *("index", "get_started", "connecting_a_pacs", "limitations", "model_card"),
        *("architecture", "contributing", "changelog"),
    )
}
html_css_files = ["site.css"]
html_theme_options = {
    "announcement": "Research use only. Not a medical device.",
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_context = {"default_mode": "auto"}
copyright = "the Pneumoscope contributors, Apache-2.0"
