"""The log of a run: Ansible's usual output without differences, and without secrets in what failed."""

from __future__ import annotations

import os
import sys
from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = """
name: antiseche_log
type: stdout
short_description: Ansible's usual output, redacted
description:
  - The default output, for a log that is kept.
  - Differences of files are left out and results of failed tasks are redacted.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - The C(antiseche) package, importable or in the folder named by E(ANTISECHE_LIB).
author:
  - Antisèche contributors
"""

_MAX_RESULT = 20000


class CallbackModule(Default):  # type: ignore[misc]
    """Prints what the default callback prints, minus secrets."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "antiseche_log"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Appended, so that nothing of ours can shadow a module of Ansible.
        sys.path.append(os.environ.get("ANTISECHE_LIB", ""))
        from antiseche.engine.redact import redact

        self._redact = redact

    def v2_on_file_diff(self, result: Any) -> None:
        pass  # kept apart, redacted, when they were asked for

    def _dump_results(self, *args: Any, **kwargs: Any) -> str:
        return self._redact(super()._dump_results(*args, **kwargs), limit=_MAX_RESULT)
