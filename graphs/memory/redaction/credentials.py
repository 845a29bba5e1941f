"""Secrets in folded text: providers' keys, tokens by their form, passwords by the words before.

No library is used. detect-secrets (Yelp) had its last release in 2024, needs requests, reports no
positions, and some of its patterns take quadratic time. Every pattern below takes linear time. It
starts at a fixed word, and the rest is either bounded or matched without backtracking (`++`).
"""

import re
from collections.abc import Iterator

from graphs.memory.redaction.findings import Finding

_PROVIDERS = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      sk-(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{20,}+              # OpenAI, Anthropic, OpenRouter, …
    | (?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])           # AWS
    | (?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{36,}+                 # GitHub
    | github_pat_[A-Za-z0-9_]{22,}+
    | gl(?:pat|dt|ptt|rt|cbt|agent)-[A-Za-z0-9_.-]{20,}+        # GitLab
    | xox[abeoprs]-[A-Za-z0-9-]{10,}+ | xapp-[A-Za-z0-9-]{20,}+ # Slack
    | hooks\.slack\.com/services/[A-Za-z0-9/]{20,}+
    | (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}+              # Stripe
    | whsec_[A-Za-z0-9+/=]{20,}+
    | AIza[A-Za-z0-9_-]{35} | ya29\.[A-Za-z0-9_-]{20,}+         # Google
    | GOCSPX-[A-Za-z0-9_-]{20,}+
    | sbp_[a-f0-9]{40,}+ | sb_(?:secret|publishable)_[A-Za-z0-9_-]{20,}+  # Supabase
    | m0-[A-Za-z0-9]{30,}+                                      # Mem0
    | ls(?:v2)?_(?:pt|sk)_[A-Za-z0-9_]{30,}+                    # LangSmith
    | npm_[A-Za-z0-9]{36} | pypi-[A-Za-z0-9_-]{50,}+
    | hf_[A-Za-z0-9]{30,}+ | gsk_[A-Za-z0-9]{40,}+ | xai-[A-Za-z0-9]{40,}+ | r8_[A-Za-z0-9]{30,}+
    | SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+              # SendGrid
    | key-[a-f0-9]{32}(?![a-f0-9]) | SK[a-f0-9]{32}(?![a-f0-9]) # Mailgun, Twilio
    | dop_v1_[a-f0-9]{64} | shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}  # DigitalOcean, Shopify
    | AGE-SECRET-KEY-1[A-Z0-9]{50,}+ | hvs\.[A-Za-z0-9_-]{20,}+
    | \d{8,10}:AA[A-Za-z0-9_-]{33}                              # Telegram
    | eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+)?     # JSON web tokens
    )""",
    re.VERBOSE,
)

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[^-]|-(?!----))*+(?:-----END [A-Z0-9 ]{0,60}-----)?"
)
_IN_URL = re.compile(
    r"://[^\s/:@]{0,128}+:(?!\d{1,5}(?:[/?#\s]|$))(?P<value>[^\s\"'<>]{1,256})@(?=[\w\[])"
)
_CURL = re.compile(r"\bcurl [^\n]{0,200}?(?:-u|--user)[ =]\S{1,64}?:(?P<value>[^\s\"']{1,256}+)")
_HEADER = re.compile(r"\b(?:bearer|basic) {1,3}(?P<value>[A-Za-z0-9._~+/=-]{16,}+)", re.IGNORECASE)

_NAMES = (
    r"(?:(?<![^\W_])(?:pass|passcodes?|pwd?|mdp|clave|senha|credentials?|credencial(?:es)?|pin"
    r"|auth[ _-]?key)"
    r"|passwords?|passwd|passphrase|passwort|kennwort|mots?[ ]de[ ]passe|contrase[nñ]as?"
    r"|wachtwoord|l[oö]senord|has[lł]o|пароль|密码|密碼|パスワード|비밀번호|secret|token"
    r"|(?:api|access|account|secret|private|encryption|signing|service|master)[ _-]?keys?)"
)
_ASSIGNED = re.compile(
    rf"""(?P<name>{_NAMES})
    (?:["'`]|[_-](?:key|id|value|hash|base|prod|dev|test|staging|live|\d{{1,3}})
      |[ ](?:for|of|to|de|del|al?|en)[ ][^\W\d]{{1,20}}(?:[ ][^\W\d]{{1,20}}){{0,4}}?)?
    (?:[ ](?:code|key|n[uú]mero|number|phrase|value))?
    ["'`]?[ ]{{0,3}}
    (?P<sign>=>|:=|==?|:|(?<=[ ])(?:is|was|ist|est|es|era)(?=[ :])[ ]?:?
      # nothing, before letters with digits
      |(?<=[ ])(?=[^\s\d]{{0,30}}\d)(?=\d{{0,30}}[^\W\d])(?=\S{{6}}))
    [ ]{{0,3}}
    (?:"(?P<double>[^"\n]{{3,200}})"|'(?P<single>[^'\n]{{3,200}})'|`(?P<tick>[^`\n]{{3,200}})`
      |["'`]?(?P<value>[^\s"'`<>]{{3,512}}+)[ ]?(?P<next>\S?))""",
    re.VERBOSE | re.IGNORECASE,
)
_SECRET_KEY = re.compile(
    rf"(?:.{{0,100}}[^a-z0-9])?(?:{_NAMES}|authorization|bearer|cookie)", re.IGNORECASE | re.DOTALL
)
_PASSWORDS = tuple(
    """passw passp contrase pw clave kennw mot mdp senha wachtw losen lösen haslo hasło пароль 密
    パス 비밀""".split()
)
"""The beginnings of names of passwords, which are words more often than other secrets are."""
_CALL = re.compile(r"[a-z_][a-z_.]{0,60}\(", re.IGNORECASE)
_CLOSERS = ".,;:)]}"
_NO_WORD = re.compile(r"[_\W]++")
_REFERENCES = ("${", "{", "$(", "process.env", "os.", "self.", "settings.", "config.")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_SECRET = frozenset(
    """null none nil true false undefined string str text bytes int number required optional
    missing invalid incorrect wrong expired forgotten changed reset empty unset unknown todo
    tbd requerida requerido opcional incorrecta incorrecto inválida vencida cambiada ninguna
    ninguno vergessen erforderlich ungültig falsch geändert abgelaufen leer geheim hier oublié
    requis obligatoire incorrecte invalide expiré perdu vide ici nada vacía oculta hidden
    redacted removed here below above secret password token getpass input valid stored
    encrypted cifrada private privada public different easy""".split()
)


def find_credentials(text: str) -> Iterator[Finding]:
    """Return the secrets in a folded text; they may overlap."""
    for pattern in (_PROVIDERS, _PRIVATE_KEY):
        for match in pattern.finditer(text):
            yield Finding("secret", *match.span())
    for pattern in (_IN_URL, _HEADER, _CURL):
        for match in pattern.finditer(text):
            yield Finding("secret", *match.span("value"))
    yield from _assigned(text)


def names_a_secret(key: str) -> bool:
    """Return whether the whole value under a JSON key is a secret, such as under `apiKey`."""
    return len(key) <= 100 and _SECRET_KEY.fullmatch(_CAMEL.sub("_", key)) is not None


def spoken(key: str) -> str:
    """Return the key of a JSON object as words, such as `phone number` for `phoneNumber`."""
    return _NO_WORD.sub(" ", _CAMEL.sub(" ", key[:100]))


def can_be_secret(value: str) -> bool:
    """Return whether a word can be a secret, and does not describe one, such as `required`."""
    if len(value) < 3 or value.casefold() in _NO_SECRET:
        return False
    # A variable or a call in code only refers to a secret.
    return not value.startswith(_REFERENCES) and not _CALL.match(value)


def _assigned(text: str) -> Iterator[Finding]:
    """Return the words that the text calls a password or a key."""
    for match in _ASSIGNED.finditer(text):
        for group in ("double", "single", "tick"):
            if match[group]:
                yield Finding("secret", *match.span(group))
        if match["value"]:
            value = match["value"].rstrip(_CLOSERS)
            alone = len(value) < len(match["value"]) or match["next"] in _CLOSERS
            if _is_secret(match["name"], match["sign"].strip(), value, alone):
                yield Finding("secret", match.start("value"), match.start("value") + len(value))


def _is_secret(name: str, sign: str, value: str, alone: bool) -> bool:
    """Return whether a word can be a password, and is not just the next word of a sentence.

    Args:
        name: the name of the secret, such as `password`.
        sign: the characters between name and word: a colon, an equals sign, a verb, or nothing.
        value: the word.
        alone: the sentence ends after the word.
    """
    if not can_be_secret(value):
        return False
    is_password = name.casefold().startswith(_PASSWORDS)
    if not value.isalpha():
        return sign != "" or is_password
    if sign.isalpha():  # a verb
        return alone and is_password
    return "=" in sign or alone
