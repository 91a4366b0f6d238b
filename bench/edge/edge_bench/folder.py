"""The sites in a folder, one below it for each host, as nginx and caddy read them: texts with
.br, .gz and .zst beside them.
"""
import os
import shutil
import subprocess

from . import sites

# As gv's worker has them for sites of this size.
ENCODERS = {
    ".br": ["brotli", "-q", "9", "-k", "-f"],
    ".gz": ["gzip", "-9", "-n", "-k", "-f"],
    ".zst": ["zstd", "-q", "-15", "-k", "-f"],
}
TEXTS = {".html", ".js", ".css"}
# One time for all files: servers make validators of it.
MODIFIED = 1_700_000_000
# Files that an encoder is given at once.
BATCH = 500


def lay_out(root, stamp, all_sites):
    """Writes `all_sites` to `root`, unless they are there as `stamp` says."""
    mark, stamp = root.with_suffix(".stamp"), f"{stamp}, {ENCODERS}"
    if mark.exists() and mark.read_text(encoding="utf-8") == stamp:
        return
    mark.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    texts = []
    for name, files in all_sites:
        for path, content in files.items():
            file = root / sites.host(name) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            if file.suffix in TEXTS:
                texts.append(str(file))
    for encoder in ENCODERS.values():
        for start in range(0, len(texts), BATCH):
            subprocess.run([*encoder, *texts[start:start + BATCH]], check=True)
    for file in root.rglob("*"):
        os.utime(file, (MODIFIED, MODIFIED))
    mark.write_text(stamp, encoding="utf-8")
