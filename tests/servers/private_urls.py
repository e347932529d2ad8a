"""Hosts that lead to this machine, in every form that some parser or resolver understands."""

from __future__ import annotations

import itertools


def octets(style: str) -> list[str]:
    return [style.format(n) for n in (127, 0, 0, 1)]


def forms_of_loopback() -> list[str]:
    """Hosts that some resolver or parser understands as 127.0.0.1 or ::1."""
    forms = [
        "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.000.000.001", "127.0.0.1..", "0127.0.0.1",
        "0177.0.0.1", "0177.1", "0177.0.1", "00000177.0.0.1", "2130706433", "017700000001", "0x7f000001",
        "0x7F000001", "0X7f.1", "0x7f.0x0.0x0.0x1", "0x7f.0.1", "127.0x0.0.01", "6425673729", "127.0.513",
        "0", "0.0.0.0", "0x0", "00", "0.0", "127.255.255.254", "127.127.127.127", "127.0.0.1%00",
        "localhost", "LOCALHOST", "localhost.", "localhost..", "LocalHost", "localhost%00", "localhost\u3002",
        "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3", "\uff4cocalhost",
        "loc\u00adalhost", "ip6-localhost",
        "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021",
        "\uff11\uff12\uff17.0.0.1", "127\uff0e0\uff0e0\uff0e1",
        "\u0661\u0662\u0667.\u0660.\u0660.\u0661", "\u09e7\u09e8\u09ed.0.0.1", "0\uff587f.0.0.1",
        "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::0.0.0.1]", "[::127.0.0.1]", "[::7f00:1]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:7f00:0001]", "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::FFFF:127.0.0.1]", "[::ffff:0:127.0.0.1]", "[::ffff:0.0.0.0]", "[64:ff9b::127.0.0.1]",
        "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:7f00:0001::1]", "[2002:0:0::]",
        "[2001:0:7f00:1::]", "[2001::80ff:fffe]", "[fe80::1]", "[fe80::1%25lo]", "[fe80::1%lo]", "[::1%25lo]",
        "[::1%lo]", "[fc00::1]", "[ff02::1]", "[::1].", "[[::1]]", "[127.0.0.1]", "[v1.127.0.0.1]", "::1",
        "user@127.0.0.1", "public.test@127.0.0.1", "public.test:80@127.0.0.1", "127.0.0.1#@public.test",
        "127.0.0.1\\@public.test", "public.test\\@127.0.0.1", "127.0.0.1 &@public.test", "@127.0.0.1",
        "127.0.0.1?@public.test", "127.0.0.1;public.test", "127.0.0.1,public.test", "%31%32%37.0.0.1",
        "127.0.0.1%2f", "127.0.0.1\t", "127.0.0.1\n", "\x00127.0.0.1", "127.0.0.1\r\nHost: x",
        "[::ffff:\u2460\u2461\u2466.0.0.1]", "[::\uff11]",
    ]  # fmt: skip
    # Ways to write the numbers that parsers differ about.
    for number in (127 << 24 | 1, (127 << 24 | 1) + (1 << 32)):
        forms += [str(number), f"{number:#x}", f"{number:#o}".replace("0o", "0"), f"0{number}"]
    for zeros in range(1, 8):
        forms += [f"{'0' * zeros}177.0.0.1", f"0x{'0' * zeros}7f.0.0.1", f"127.0.0.{'0' * zeros}1"]
    # The same in the forms of IPv6 that carry IPv4: mapped, NAT64, 6to4, Teredo.
    forms += ["[::ffff:127.255.255.254]", "[0:0:0:0:0:FFFF:7F00:1]", "[::ffff:7f00:1%25lo]"]
    forms += ["[64:ff9b:0:0:0:0:127.0.0.1]", "[64:ff9b::7f7f:7f7f]", "[2002:7f7f:7f7f::]"]
    forms += ["[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[fe80::7f00:1]", "[::ffff:0177.0.0.1]"]
    mixed = itertools.product(*zip(octets("{}"), octets("{:#x}"), octets("0{:o}"), strict=True))
    return list(dict.fromkeys(forms + [".".join(parts) for parts in mixed]))


FORMS = forms_of_loopback()
