"""Pages of the site that are generated: every key, and the results.

Hooks of MkDocs. The pages name files of the repository in backticks; those that are pages become
links to them.
"""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
import config_reference

NAMED_PAGE = re.compile(r"`docs/([\w-]+\.md)`")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    generated = {"reference.md": config_reference.reference(), "results.md": results()}
    for name, text in generated.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links of the pages that a page names."""
    return NAMED_PAGE.sub(r"[\1](\1)", markdown)


def results() -> str:
    """The README's section of results, which the benchmark writes."""
    readme = (config_reference.ROOT / "README.md").read_text()
    section = readme.split("\n## Results\n")[1].split("\n## ")[0]
    return f"# Results\n{section}"
