"""What mkdocs shows: the repository's pages under their own paths, with GitHub's names of headings.

mkdocs takes pages from one folder, and README.md may not lie above it. With the paths of the repository every relative
link leads to the same page on the site as on GitHub.
"""

import re
import unicodedata
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE_DOCS = ("README.md", "CONTRIBUTING.md")
SHOWN = (".md", ".png")


def github_anchor(heading: str, separator: str) -> str:
    """The name that GitHub gives a heading: in lower case, without punctuation, spaces as hyphens."""
    kept = re.sub(r"[^\w\- ]", "", unicodedata.normalize("NFC", heading).lower())
    return kept.strip().replace(" ", separator)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name headings as GitHub does."""
    config.mdx_configs["toc"] = {"slugify": github_anchor}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages and pictures of the repository, under their paths in it; the theme's own files stay."""
    paths = [*(ROOT / name for name in BESIDE_DOCS), *sorted((ROOT / "docs").rglob("*"))]
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    for path in paths:
        if path.suffix in SHOWN:
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files
