"""Times as people read them and as players parse them."""


def format_clock(seconds: float, *, decimals: int = 1) -> str:
    """Write `seconds` as m:ss.s, or h:mm:ss.s from one hour on.

    Args:
        seconds: Not negative.
        decimals: Digits after the point; 0 leaves the point out.
    """
    # Rounded before it is split, so 59.96 becomes 1:00.0 and never 0:60.0.
    ticks = round(seconds * 10**decimals)
    whole, fraction = divmod(ticks, 10**decimals)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    tail = f".{fraction:0{decimals}d}" if decimals else ""
    return f"{head}:{rest:02d}{tail}"


def format_span(start_seconds: float, end_seconds: float) -> str:
    """Write a stretch of time; word joiners keep it on one line."""
    return f"{format_clock(start_seconds)}\u2060–\u2060{format_clock(end_seconds)}"


def format_webvtt(seconds: float) -> str:
    """Write `seconds` as HH:MM:SS.mmm.

    Source: W3C WebVTT, "WebVTT timestamp".
    """
    milliseconds = round(seconds * 1000)
    whole, milliseconds = divmod(milliseconds, 1000)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest:02d}.{milliseconds:03d}"
