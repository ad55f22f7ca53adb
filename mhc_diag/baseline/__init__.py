"""What a report was when somebody accepted it, and what is held against it since.

records       the nouns
saved         as JSON and back
files         read from a file
made          what of a report can be accepted
acceptance    which findings are accepted
against       a verdict with all of that taken into account
update        the ratchet
words         what differs, in words
"""

from __future__ import annotations

from mhc_diag.baseline.against import against
from mhc_diag.baseline.files import read
from mhc_diag.baseline.records import Baseline
from mhc_diag.baseline.saved import from_document, to_document
from mhc_diag.baseline.update import Update, updated

__all__ = ["Baseline", "Update", "against", "from_document", "read", "to_document", "updated"]
