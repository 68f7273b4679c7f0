"""A pickle's scikit-learn release and notebook names, read without executing it."""

from __future__ import annotations

import re

# The last key of every estimator's state, and the text after it, as each protocol writes them.
# joblib's arrays lie between the opcodes, so the bytes are searched and not the opcodes.
_KEY = re.compile(
    rb"_sklearn_version(?:\np\d+\n|\x94|q.|r.{4})?(?:\x8c(.)|X(.)\0\0\0|V)", re.DOTALL
)
_RELEASE = re.compile(r"\d{1,4}(\.\w{1,12}){1,4}(\+[\w.]{1,30})?", re.ASCII)


def saved_with(content: bytes) -> str | None:
    """Return the scikit-learn release that wrote a pickle, or None if the pickle does not name it.

    `content` is the unpacked pickle. The file may lie: use the result only in messages.
    """
    for match in _KEY.finditer(content):
        length = match[1] or match[2]
        text = content[match.end() : match.end() + (length[0] if length else 64)]
        release = (text if length else text.partition(b"\n")[0]).decode("latin-1")
        if _RELEASE.fullmatch(release):
            return release
    return None
