"""What may be shown of addresses: never a password, whatever way it is written."""

from __future__ import annotations

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.safe_text.masking import HIDDEN, has_secret, masked, masked_text, without

MARK = "Zq7Zq7"
"""Within every drawn password, and nowhere else."""

PIECES = st.text(string.ascii_letters + string.digits + "/@:#?%&=+ '\"\\;,.!*[](){}<>|~^$äß", max_size=8)
PASSWORDS = st.builds(lambda before, behind: f"{before}{MARK}{behind}", PIECES, PIECES)
HOSTS = st.sampled_from(["host", "db.example.com:5432", "127.0.0.1:9", "[::1]:5432", "[fe80::1]", "", "host:port"])
SCHEMES = st.sampled_from(["postgresql", "postgres", "postgresql+psycopg", "https", "http", "tcp", "mysql", "x+y"])


@st.composite
def addresses(draw: st.DrawFn) -> str:
    """Draw an address with a password in one of the ways in which people write one."""
    password, host, scheme = draw(PASSWORDS), draw(HOSTS), draw(SCHEMES)
    written = draw(st.sampled_from([password, quote(password, safe=""), quote(password)]))
    user = draw(st.sampled_from(["me", "", "a.user", "a%20b", "me@firm.example"]))
    name = draw(st.sampled_from(["password", "passfile", "sslpassword", "PGPASSWORD", "token", "options", "x"]))
    join = draw(st.sampled_from(["&", ";", "&amp;"]))
    return draw(
        st.sampled_from(
            [
                f"{scheme}://{user}:{written}@{host}/db",
                f"{scheme}://{user}:{written}@{host}/db?sslmode=require",
                f"{scheme}://:{written}@{host}",
                f"{scheme}://{host}/db?{name}={written}",
                f"{scheme}://{user}@{host}/db?sslmode=require{join}{name}={written}",
                f"{scheme}://{user}:other@{host}/db?host=x{join}{name}={written}{join}port=5",
                f"{scheme}://{host}/db#{written}",
                f"{user}:{written}@{host}/db",
                f"host={host} user=me password={written}",
                f"host={host} password='{written}' user=me",
                f" {scheme}://me:{written}@{host}/db",
                f"'{scheme}://me:{written}@{host}/db'",
                f"jdbc:{scheme}://{host}/db?user=me&password={written}",
                f"{scheme}:/me:{written}@{host}/db",
                f"{scheme}//me:{written}@{host}/db",
                f"{scheme}://me:{written}@{host}:99999/db",
                f"{scheme}://me:{written}",
            ]
        )
    )


@given(address=addresses())
def test_a_password_is_never_shown(address: str) -> None:
    """No part of a password is left, whatever stands in it and however it is given; what is hidden stays as it is."""
    shown = masked(address)
    assert MARK not in shown
    assert MARK not in masked(address, path=False)
    assert masked(shown) == shown
    assert has_secret(address)


@given(
    password=PASSWORDS,
    scheme=SCHEMES,
    host=HOSTS,
    text=st.sampled_from(["no server answers at {}", "found '{}'; mend it", "({}), see the log of NAME@MACHINE", "{}"]),
)
def test_no_password_is_left_in_a_text(password: str, scheme: str, host: str, text: str) -> None:
    """An address within an error of a library is masked too, also where its password has blanks and quotes in it."""
    assert MARK not in masked_text(text.format(f"{scheme}://me:{password}@{host}/db"))
    assert MARK not in masked_text(text.format(f"{scheme}://{host}/db?password={quote(password)}"))
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    assert MARK not in masked_text(text.format(f"host=x password='{quoted}'"))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        (
            "postgresql://host/db?sslmode=require&connect_timeout=5",
            "postgresql://host/db?sslmode=require&connect_timeout=5",
        ),
        ("postgresql://me:x@[::1]:5432/db", f"postgresql://me:{HIDDEN}@[::1]:5432/db"),
        ("postgresql://me:a%2Fb@host/db", f"postgresql://me:{HIDDEN}@host/db"),
        ("postgresql://host/db?passfile=/home/me/.pgpass", f"postgresql://host/db?{HIDDEN}"),
        ("postgresql://me:a@b@host/db", f"postgresql://{HIDDEN}"),
        ("postgresql://me:a/b@host/db", f"postgresql://{HIDDEN}"),
        ("sqlite:////data/a store/catalog@2.sqlite", "sqlite:////data/a store/catalog@2.sqlite"),
        ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200/api"),
        ("https://token@host/api", f"https://{HIDDEN}@host/api"),
        ("me:x@host/db", HIDDEN),
        ("", HIDDEN),
    ],
)
def test_what_is_harmless_is_shown(address: str, shown: str) -> None:
    """Host, name and harmless parameters help to find a fault, and are shown where the address is understood."""
    assert masked(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        "maps:/data/maps holds no map",
        "http://127.0.0.1:4200/api does not answer: see its log",
        "board/10:30@cam1.png is empty",
        "the image token.png, 3 secrets; password is not shown",
    ],
)
def test_other_texts_stay(text: str) -> None:
    """What only looks like an address or a password from afar is left as it is."""
    assert masked_text(text) == text


def test_known_secrets_are_taken_out_of_any_text() -> None:
    """Also as Python writes them in quotes."""
    text = "could not find it's/me nor 'it\\'s\\n/me'"
    assert without(text, "it's/me", "it's\n/me", None, "no") == f"could not find {HIDDEN} nor 'it\\'s\\n/me'"
