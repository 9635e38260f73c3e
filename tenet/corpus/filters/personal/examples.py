"""What looks like personal data and belongs to nobody: examples of standards and manuals. It is kept unless asked for.

A model that reads documentation should learn `user@example.com` and `192.0.2.1` as they are written: they are reserved
so that they can be printed. The list is a policy, not a guess: nothing is an example because it looks like one.
"""

from __future__ import annotations

#: RFC 2606 and 6761: names that never resolve to anybody; any domain whose own name is `example` too.
RESERVED_TLDS = frozenset({"example", "test", "invalid", "localhost", "local", "internal", "lan"})
RESERVED_NAMES = frozenset({"example"})
#: Domains that manuals use for examples although they are not reserved for it.
PLACEHOLDER_DOMAINS = frozenset(
    {
        "domain.com",
        "yourdomain.com",
        "mydomain.com",
        "yourcompany.com",
        "foo.com",
        "bar.com",
        "foobar.com",
        "test.com",
        "foo.bar",
        "acme.com",
    }
)
#: Local parts that are a program or nobody: `git@github.com:owner/name` is an address of a repository.
ROLE_NAMES = frozenset({"git", "hg", "svn", "noreply", "no-reply", "donotreply", "do-not-reply"})
#: Public resolvers that everybody's manual names; no machine of a person.
KNOWN_HOSTS = frozenset(
    {"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222", "208.67.220.220", "223.5.5.5", "114.114.114.114"}
    | {"2001:4860:4860::8888", "2001:4860:4860::8844", "2606:4700:4700::1111", "2606:4700:4700::1001", "2620:fe::fe"}
)
#: Test cards of the payment services; they pass Luhn and are nobody's.
TEST_CARDS = frozenset(
    {"4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556", "5555555555554444", "5105105105105100"}
    | {"378282246310005", "371449635398431", "6011111111111117", "6011000990139424", "3530111333300000", "30569309025904"}
    | {"38520000023237", "2223003122003222", "4000000000000002", "6200000000000005"}
)
#: IBANs of the registry's own examples and of manuals, without blanks.
EXAMPLE_IBANS = frozenset(
    {"GB82WEST12345698765432", "GB29NWBK60161331926819", "DE89370400440532013000", "FR1420041010050500013M02606"}
    | {"ES9121000418450200051332", "NL91ABNA0417164300", "CH9300762011623852957", "AT611904300234573201", "BE68539007547034"}
    | {"IT60X0542811101000000123456", "PL61109010140000071219812874", "SE4550000000058398257466", "NO9386011117947"}
    | {"PT50000201231234567890154", "IE29AIBK93115212345678", "TR330006100519786457841326", "DK5000400440116243"}
)
#: Parts of keys that say themselves that they are none (as AKIAIOSFODNN7EXAMPLE of a cloud's manual), in lower case.
PLACEHOLDER_KEYS = (
    "example",
    "your",
    "xxxx",
    "placeholder",
    "changeme",
    "change_me",
    "dummy",
    "redacted",
    "00000000",
    "12345678",
    "abcdef0123",
    "abcdefgh",
)
#: jwt.io's token, which every article about tokens prints.
EXAMPLE_TOKENS = ("eyJzdWIiOiIxMjM0NTY3ODkw",)
#: North American numbers of this exchange are fiction's and documentation's (555-0100 to 555-0199 are reserved, films
#: and manuals use the rest as well).
FICTION_EXCHANGE = "555"
