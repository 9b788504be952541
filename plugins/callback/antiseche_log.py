"""The log of a run: Ansible's usual output without differences, and without secrets in what failed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = """
name: antiseche_log
type: stdout
short_description: Ansible's usual output, redacted
description:
  - The default output, for a log that is kept.
  - Differences of files and the items of loops are left out.
  - Of results only the reason is printed, redacted. Arguments, commands and their output may hold secrets.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - The C(antiseche) package, importable or in the folder named by E(ANTISECHE_LIB).
author:
  - Antisèche contributors
"""

_MAX_RESULT = 20000
_KEPT = ("msg", "reason", "rc", "changed", "changes", "censored", "skip_reason", "exception", "module_stderr")


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

    def _dump_results(self, result: Any, *args: Any, **kwargs: Any) -> str:
        kept = {name: result[name] for name in _KEPT if name in result} if isinstance(result, Mapping) else result
        return self._redact(super()._dump_results(kept, *args, **kwargs), limit=_MAX_RESULT)

    def _get_item_label(self, *_arguments: Any) -> str:
        return "…"
