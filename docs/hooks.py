"""Makes the site of the repository's own Markdown, whose links work on a code host, too.

Pages outside of `docs/` (`PAGES`) join the site. Links are written from file to file; here one to
a page becomes a link within the site, one to any other file copies that file into the site, and of
one to a folder only the words remain.
"""

import logging
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks")  # what it warns of stops a strict build
ROOT = Path(__file__).parent.parent
PAGES = {
    "index.md": "README.md",
    "settings.md": "config/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
_CODE = re.compile(r"(^ *```.*?```)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)\)")
_FOLDER = re.compile(r"(?<!!)\[([^\]]*)\]\(folder:[^)]*\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of `docs/`."""
    for uri, path in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn a page's links to files of the repository into links of the site."""
    source = Path(page.file.abs_src_path or "").resolve()
    of_path = {str(ROOT / path): uri for uri, path in PAGES.items()}

    def renewed(match: re.Match) -> str:
        target, _, anchor = match[2].partition("#")
        path = Path(os.path.normpath(source.parent / target))
        if not target or ":" in target:
            return match[0]
        if not path.exists():
            log.warning("%s: no %s", source, target)
            return match[0]
        if path.is_dir():
            return f"{match[1]}folder:)"
        if str(path) in of_path:
            uri = of_path[str(path)]
        elif path.is_relative_to(ROOT / "docs"):
            uri = path.relative_to(ROOT / "docs").as_posix()
        else:
            uri = f"files/{path.relative_to(ROOT).as_posix()}"
            uri = uri.removesuffix(".md") + ".txt" if uri.endswith(".md") else uri
            if uri not in files.src_uris:
                files.append(File.generated(config, uri, abs_src_path=str(path)))
        link = os.path.relpath(uri, os.path.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{link}{'#' if anchor else ''}{anchor})"

    parts = _CODE.split(text)
    parts[::2] = [_FOLDER.sub(r"\1", _LINK.sub(renewed, part)) for part in parts[::2]]
    return "".join(parts)
