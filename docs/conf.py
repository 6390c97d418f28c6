"""The settings of Sphinx: `sphinx-build -W -c docs . build/docs` in the root of the project.

The source folder is the root, so that links between pages, and from pages to other files, are the same on disk, on a
code host and in the built pages.
"""

project = "charrnn"
copyright = "The charrnn authors"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "charrnn/DESIGN.md", "examples/README.md"]
exclude_patterns = [".*", "build", "dist", "runs", "tests", "benchmarks"]
myst_heading_anchors = 4
nitpick_ignore = [("myst", "docs"), ("myst", "../../configs")]  # links to folders, which have no page
myst_enable_extensions = ["html_image"]  # <img> in the README
highlight_language = "text"  # of indented blocks, which are formulas
html_theme = "furo"
html_title = "charrnn"
