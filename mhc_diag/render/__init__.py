"""One file = one output format: reports in, text or bytes out.

A file provides `SUFFIX` and `render(reports, verdict=None)`, where the verdict is what the gate said of these
reports, or what it would advise. Formats that cannot hold a verdict leave it out.
"""
