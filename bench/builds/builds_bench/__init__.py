"""Real projects of many frameworks through a real gv: made once, deployed, looked at in a browser.

`projects` is the list and how each is made, `scaffold` makes and keeps them, `deploys` takes one
through `gv deploy` and reads its log, `browser.mjs` loads it in Chromium. Start with `../frameworks`.
"""
