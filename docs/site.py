"""Give the site the pages of the repository's root, where a code host looks for them.

Links are written for the code host. The site has the pages of the root and of docs/ in one folder.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]


def on_files(files, config):
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown, page, config, files):
    if page.file.src_uri in PAGES:
        return markdown.replace("](docs/", "](")
    return re.sub(rf"\]\(((?:\.\./)*)\.\./({'|'.join(PAGES)})", r"](\1\2", markdown)
