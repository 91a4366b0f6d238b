"""Runs every check of the chart; see renderings.py. Usage: main.py GV, a gv binary or a path without one."""

import os
import sys

import helm_python as helm
from renderings import CHECKS, GV, RENDERINGS, Rendering

# Their checks, in this order.
import engine  # noqa: F401
import pods  # noqa: F401
import networks  # noqa: F401
import contents  # noqa: F401
import certificates  # noqa: F401
import room  # noqa: F401
import cluster  # noqa: F401


def main():
    all_of = [Rendering(name, values) for name, values in RENDERINGS.items()]
    failed = 0
    for function in CHECKS:
        try:
            function(all_of)
            print(f"ok      {function.__doc__}", flush=True)
        except Exception as error:
            failed += 1
            line = error.__traceback__.tb_next.tb_lineno
            print(f"FAILED  {function.__doc__}\n        {function.__module__}.py:{line}: {error or repr(error)}", flush=True)
    if not os.access(GV, os.X_OK):
        print(f"        left out what needs a gv binary: there is none at {GV}")
    objects = sum(len(rendering.objects) for rendering in all_of)
    held = len(CHECKS) - failed
    print(f"{objects} objects in {len(all_of)} renderings by Helm {helm.helm_sdk_version()}: {held} checks held, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
