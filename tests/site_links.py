"""Points the links of included pages at the pages of the site, and links to files outside of `docs` at where
they are published: a preprocessor of mdBook, named in docs/book.toml."""

import json
import os
import pathlib
import posixpath
import re
import sys

PUBLISHED = "https://github.com/pleach-nas/pleach/blob/main/"

# The pages that are an included file, or parts of one, and what links in it are relative to.
INCLUDED = {"index.md": "", "start.md": "", "journeys.md": "", "limits.md": "", "changelog.md": "", "python.md": "python"}

# Files outside of `docs` that have a page.
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "python": "python.md", "python/README.md": "python.md",
         "docs/decisions": "decisions/README.md"}


def pointed(page, target):
    """Where a link of a page leads to on the site."""
    if re.match(r"[a-z]+:|#", target):
        return target
    path, hash, part = target.partition("#")
    # What a page says itself, around what it includes, is relative to it as ever.
    own = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), path))
    included = posixpath.normpath(posixpath.join(INCLUDED.get(page, "."), path))
    file = included if page in INCLUDED and pathlib.Path(included).exists() else own
    file = PAGES.get(file, posixpath.relpath(file, "docs"))
    if file.startswith("../"):
        return PUBLISHED + file.removeprefix("../") + hash + part
    return posixpath.relpath(file, posixpath.dirname(page) or ".") + hash + part


def rewrite(item):
    chapter = item.get("Chapter") if isinstance(item, dict) else None
    if not chapter or not chapter["path"]:
        return
    page = chapter["path"]
    # Code may have what looks like a link.
    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", chapter["content"], flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [re.sub(r"\]\(([^)\s]+)\)", lambda link: f"]({pointed(page, link[1])})", part) for part in parts[::2]]
    chapter["content"] = "".join(parts)
    for sub in chapter["sub_items"]:
        rewrite(sub)


if __name__ == "__main__":
    if sys.argv[1:2] == ["supports"]:
        sys.exit(0)
    _, book = json.load(sys.stdin)
    os.chdir(pathlib.Path(__file__).resolve().parent.parent)
    for item in book.get("items", book.get("sections", [])):
        rewrite(item)
    json.dump(book, sys.stdout)
