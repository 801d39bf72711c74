"""What holds for every test: no library closes the streams that pytest captures."""

from __future__ import annotations

import sys

from absl import logging as absl_logging

# absl (of rouge-score and TensorBoard) keeps the standard error that it was imported under, pytest's own here, and
# closes it as soon as logging is configured while a test captures another: every later test would fail. The process's
# own it leaves open.
absl_logging.get_absl_handler().python_handler.setStream(sys.__stderr__)
