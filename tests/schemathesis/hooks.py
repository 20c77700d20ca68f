"""What a description can't say of its values, for schemathesis.

An event isn't in the future, and a key belongs to one content: so dates and
times are past ones, and no key that fits is sent twice.
"""

import datetime
import itertools

import schemathesis
from hypothesis import strategies as st

FIRST, LAST = datetime.datetime(1900, 1, 1), datetime.datetime(2025, 12, 31)
numbers = itertools.count(1)

schemathesis.openapi.format(
    "date-time", st.datetimes(FIRST, LAST).map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ"))
)
schemathesis.openapi.format("date", st.dates(FIRST.date(), LAST.date()).map(str))


@schemathesis.hook
def before_call(context, case, kwargs):
    is_positive = case.meta is not None and case.meta.generation.mode.is_positive
    if is_positive and "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = f"key-{next(numbers)}"
