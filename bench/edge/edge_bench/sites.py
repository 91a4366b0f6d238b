"""The sites of the benches: what files each has. A site is its name and its files, by path.

What was laid out or deployed is kept under its `identity`, and made anew where that is another.
"""
import hashlib

from . import text
from .text import Writer

DOMAIN = "localhost"
# The site of most cases.
MAIN = "bench"
KIB = 1024


def host(site):
    return f"{site}.{DOMAIN}"


def main_site(pages):
    files = {
        "index.html": Writer("index").page("Home", 4 * KIB),
        "404.html": Writer("404").page("Not found", KIB),
        "app.js": Writer("app").script(120 * KIB),
        "style.css": Writer("style").style(20 * KIB),
        "image.png": text.noise("image", 300 * KIB),
    }
    for number in range(pages):
        writer = Writer(f"page {number}")
        size = 2 * KIB + writer.below(6 * KIB + 1)
        files[f"{page_path(number)}index.html"] = writer.page(f"Page {number}", size)
    return MAIN, files


def page_path(number):
    """As visitors ask for it. A folder's page: all servers agree on what its address is."""
    return f"p/{number:04}/"


def small_site(number):
    """One page of 4 KiB."""
    return small_name(number), {"index.html": Writer(f"site {number}").page(f"Site {number}", 4 * KIB)}


def small_name(number):
    return f"site-{number:04}"


def compared(pages, hosts):
    """All sites of ../compare."""
    yield main_site(pages)
    for number in range(hosts):
        yield small_site(number)


def many_name(number):
    return f"many-{number:04}"


def many_path(number):
    """As visitors ask for it."""
    return "" if number == 0 else f"page-{number}"


def many_site(site, files):
    """Pages of 4 to 20 KiB, most of them small."""
    writer = Writer(f"many {site}")
    sizes = [4 * KIB + int(16 * KIB * writer.fraction() ** 4) for _ in range(files)]
    pages = {f"{many_path(n) or 'index'}.html": writer.page(f"Page {n} of {site}", size) for n, size in enumerate(sizes)}
    return many_name(site), pages


def many(sites, files):
    """All sites of ../many-sites."""
    for site in range(sites):
        yield many_site(site, files)


def identity(count, some):
    """Of `count` sites, by the content of `some` of them: they are all made in one way."""
    digest = hashlib.sha256()
    for name, files in some:
        for path, content in files.items():
            digest.update(f"{name} {path} {len(content)}\n".encode() + content)
    return f"{count} sites like {digest.hexdigest()[:16]}"
