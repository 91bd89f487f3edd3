"""Sends a message with Slack's own client, with retries. Imported only when a message is sent."""

from __future__ import annotations

import logging
import re
import time
from typing import Any
from urllib.error import URLError

from django.conf import settings
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry import (
    BackoffRetryIntervalCalculator,
    ConnectionErrorRetryHandler,
    FixedValueRetryIntervalCalculator,
    RateLimitErrorRetryHandler,
    RetryHandler,
)
from slack_sdk.http_retry.builtin_handlers import ServerErrorRetryHandler

ATTEMPT = 8
"""Timeout of one request to Slack, in seconds."""
MAX_TEXT_LENGTH = 3500


def post(text: str, *, seconds: float) -> str:
    """Post `text` to the channel, with retries for up to `seconds`. Return "" or why it failed. Never raises."""
    quiet = logging.getLogger("bytemark_sync.slack.client")
    quiet.setLevel(logging.CRITICAL)  # its debug log shows whole requests and answers
    client = WebClient(
        token=settings.SLACK_BOT_TOKEN,
        base_url=settings.SLACK_API_URL,
        timeout=ATTEMPT,
        logger=quiet,
        retry_handlers=_retries(time.monotonic() + seconds),
    )
    try:
        client.chat_postMessage(channel=settings.SLACK_CHANNEL_ID, text=text[:MAX_TEXT_LENGTH], unfurl_links=False)
    except SlackApiError as error:
        return f"failed: Slack answered {_answer(error)}"[:255]
    except URLError as error:
        return f"failed: {error.reason}"[:255]
    except (SlackClientError, OSError, ValueError) as error:
        return f"failed: {type(error).__name__}"
    except Exception as error:  # noqa: BLE001 - http.client raises exceptions of its own
        return f"failed: {type(error).__name__}"
    return ""


def _answer(error: SlackApiError) -> str:
    status = getattr(error.response, "status_code", None)
    told = error.response.get("error") if hasattr(error.response, "get") else None
    if told is None or status != 200:
        return f"HTTP {status}"
    # Slack's errors are words such as channel_not_found. Any other text may contain the bot's token.
    return str(told) if re.fullmatch(r"[a-z_]{1,60}", str(told)) else "an error without a name"


def _retries(deadline: float) -> list[RetryHandler]:
    soon = BackoffRetryIntervalCalculator(backoff_factor=0.5)
    return [
        ConnectionErrorRetryHandler(max_retry_count=2, interval_calculator=soon),
        ServerErrorRetryHandler(max_retry_count=2, interval_calculator=FixedValueRetryIntervalCalculator(1.0)),
        _RateLimit(deadline),
    ]


class _RateLimit(RateLimitErrorRetryHandler):
    """Waits as long as Slack asks, if the message can still be sent before the deadline."""

    def __init__(self, deadline: float) -> None:
        super().__init__(max_retry_count=5)
        self._deadline = deadline

    def _can_retry(self, *, state: Any, request: Any, response: Any = None, error: Any = None) -> bool:
        if not super()._can_retry(state=state, request=request, response=response, error=error):
            return False
        asked = next((value for name, value in response.headers.items() if name.lower() == "retry-after"), ["1"])
        try:
            seconds = int(asked[0])
        except ValueError:
            return False
        return seconds >= 0 and time.monotonic() + seconds + 2 < self._deadline
