"""What `scrub` looks for: the shape of a kind, and the secrets.

The formats of secrets are facts of their issuers, gathered as in gitleaks' rules (github.com/gitleaks/gitleaks,
config/gitleaks.toml, MIT) and written here anew. detect-secrets was not used: no release since May 2024, no Aliyun,
Hugging Face or present OpenAI keys, no places of what it finds, and it brings requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Accept = Callable[[str, str, str], bool]
"""Of the value, up to `CONTEXT` characters before it, and as many after it."""
CONTEXT = 24


def always(value: str, before: str, after: str) -> bool:
    """For patterns that need no second look."""
    return True


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `value` in the pattern names the part to replace; without it the whole match is."""

    name: str
    zh: str
    en: str
    pattern: re.Pattern[str]
    source: str
    accept: Accept = always


_KEY, _TOKEN, _PASSWORD = ("密钥", "API key"), ("令牌", "token"), ("密码", "password")
_ROWS: tuple[tuple[str, tuple[str, str], str, str], ...] = (
    (
        "url_password",
        _PASSWORD,
        r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@<>\"']{0,100}:(?P<value>[^\s/@\[{<$%*][^\s/@]{0,100})@(?=[\w\[])",
        "RFC 3986, 3.2.1 (userinfo)",
    ),
    ("aws_key", _KEY, r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b", "AWS IAM user guide, unique identifiers"),
    ("github_token", _TOKEN, r"\bgh[pousr]_[A-Za-z0-9]{36}\b", "GitHub docs, token formats (2021-04)"),
    ("github_token", _TOKEN, r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b", "GitHub docs, fine-grained tokens"),
    ("gitlab_token", _TOKEN, r"\bglpat-[\w-]{20}\b", "GitLab docs, token prefixes"),
    ("openai_key", _KEY, r"\bsk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}\b", "gitleaks openai-api-key"),
    ("openai_key", _KEY, r"\bsk-(?:proj|svcacct|admin)-[\w-]{40,200}", "gitleaks openai-api-key"),
    ("anthropic_key", _KEY, r"\bsk-ant-[\w-]{80,120}", "gitleaks anthropic-api-key"),
    ("sk_key", _KEY, r"\bsk-[0-9a-f]{32}\b", "keys of DeepSeek and DashScope as their consoles give them"),
    ("huggingface_token", _TOKEN, r"\bhf_[A-Za-z]{34}\b", "gitleaks huggingface-access-token"),
    ("slack_token", _TOKEN, r"\bxox[abeoprs]-[0-9A-Za-z-]{10,250}|\bxapp-\d-[0-9A-Za-z-]{10,250}", "Slack docs"),
    ("google_key", _KEY, r"\bAIza[\w-]{35}(?![\w-])", "gitleaks gcp-api-key"),
    ("aliyun_key", _KEY, r"\bLTAI[A-Za-z0-9]{12,20}\b", "Aliyun RAM docs: 16 to 24 characters"),
    ("tencent_key", _KEY, r"\bAKID[A-Za-z0-9]{32}\b", "Tencent Cloud CAM docs: SecretId of 36 characters"),
    ("stripe_key", _KEY, r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{20,99}\b", "Stripe docs, API keys"),
    ("jwt", _TOKEN, r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}", "RFC 7519; a header is JSON, so begins with eyJ"),
)
SECRET_KINDS: tuple[Kind, ...] = tuple(
    Kind(name, zh, en, re.compile(pattern, re.ASCII), source) for name, (zh, en), pattern, source in _ROWS
)
"""In the order they are replaced. ASCII patterns: Chinese characters may touch a secret."""
