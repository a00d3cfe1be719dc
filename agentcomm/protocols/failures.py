"""Why a call over a protocol failed, in words: many errors of HTTP clients come without a text."""

from __future__ import annotations

from collections.abc import Iterator

WAITED_FOR = {  # by the type of a timeout in httpx and httpx2: what did not come in time
    "ConnectTimeout": "no connection",
    "PoolTimeout": "no free connection",
    "WriteTimeout": "the request was not taken",
}


def failure(error: BaseException, seconds: float) -> str:
    """Why a call failed; never empty.

    Args:
        error: What was raised; what caused it may have the text or the type that says more.
        seconds: The caller's timeout.
    """
    text = str(error).strip().rstrip(":")
    late = next((type(link).__name__ for link in _links(error) if _is_timeout(link)), None)
    if late is not None:
        why = f"{WAITED_FOR.get(late, 'no answer')} within {seconds:g} s ({late})"
    elif text.endswith("timed out"):  # of an MCP client, without a cause
        return f"{text} after {seconds:g} s"
    else:
        why = next((type(link).__name__ for link in _links(error) if not str(link).strip()), "")
    return ": ".join(part for part in (text, why) if part)


def _links(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or type(error).__name__.endswith("Timeout")
