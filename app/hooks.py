"""What operators may put in front of the queue: a moderation service, and one that writes short
prompts out. Both speak OpenAI's APIs, and both are off unless their address is set.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import structlog

from app.contract.settings import Settings
from app.errors import InvalidRequest, Unavailable

#: A prompt of so many characters says enough and is left as it is.
LONG_CHARS = 200
INSTRUCTIONS = (
    "You write prompts for a video model. Rewrite the user's idea as one paragraph of at most 120"
    " words that describes the clip: subject, action, setting, light, camera. Keep everything that"
    " the user says, add nothing that contradicts it, keep the user's language, and answer with"
    " the paragraph alone. The clip lasts {seconds:g} seconds."
)
#: What may go wrong with somebody else's server, or with what it answers.
BROKEN = (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Hooks:
    """The two hooks as they are configured; `transport` is there to be replaced in tests."""

    settings: Settings
    transport: httpx.BaseTransport | None = field(default=None, compare=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The hooks that the settings name."""
        return cls(settings)

    def moderate(self, prompt: str, *shots: str) -> None:
        """Raises InvalidRequest for texts that the moderation service flags, and Unavailable when
        it does not answer, unless `moderation_required` is off. `shots` are a storyboard's.
        """
        settings = self.settings
        if not settings.moderation_url:
            return
        body: dict[str, Any] = {"input": [prompt, *shots]}
        if settings.moderation_model:
            body["model"] = settings.moderation_model
        try:
            answer = self._ask(settings.moderation_url, settings.moderation_key, body)
            # An answer that leaves a text out has not looked at it.
            pairs = enumerate(zip(body["input"], answer["results"], strict=True))
            bad = {place: result["categories"] for place, (_, result) in pairs if result["flagged"]}
            named = {name for all_ in bad.values() for name, is_it in all_.items() if is_it}
        except BROKEN as error:
            log.warning("moderation.failed", error=type(error).__name__)
            if settings.moderation_required:
                raise Unavailable(
                    "The prompt could not be checked: the moderation service does not answer.",
                    code="moderation_unavailable",
                    headers={"retry-after": "5"},
                ) from None
            return
        if bad:
            first = min(bad)
            param = f"storyboard.{first - 1}.prompt" if first else "prompt"
            said = f" ({', '.join(sorted(named))})" if named else ""
            raise InvalidRequest(
                f"{param}: the prompt was refused by this service's moderation{said}.",
                param=param,
                code="moderation_blocked",
            )

    def expand(self, prompt: str, seconds: float) -> str:
        """A short prompt written out for a clip of so many seconds; a long one as it is.

        When the service does not answer, the prompt as it is, or, with `prompt_expander_required`,
        Unavailable.
        """
        settings = self.settings
        if not settings.prompt_expander_url or len(prompt) >= LONG_CHARS:
            return prompt
        body: dict[str, Any] = {
            "messages": [
                {"role": "system", "content": INSTRUCTIONS.format(seconds=seconds)},
                {"role": "user", "content": prompt},
            ]
        }
        if settings.prompt_expander_model:
            body["model"] = settings.prompt_expander_model
        try:
            answer = self._ask(settings.prompt_expander_url, settings.prompt_expander_key, body)
            text = " ".join(answer["choices"][0]["message"]["content"].replace("\0", "").split())
            text.encode()  # half of a surrogate pair can be stored nowhere
        except (*BROKEN, AttributeError) as error:
            log.warning("prompt_expander.failed", error=type(error).__name__)
            text = ""
        if text:
            return text[: settings.max_prompt_chars]
        if settings.prompt_expander_required:
            raise Unavailable(
                "The prompt could not be written out: the prompt expander does not answer.",
                code="prompt_expander_unavailable",
                headers={"retry-after": "5"},
            )
        return prompt

    def _ask(self, url: str, key: str, body: dict[str, Any]) -> Any:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        timeout = self.settings.hook_timeout_s
        with httpx.Client(transport=self.transport, trust_env=False, timeout=timeout) as client:
            return client.post(url, json=body, headers=headers).raise_for_status().json()
