"""A day of unlike news, shared by the tests of the offline summariser."""

from __future__ import annotations

from datetime import UTC, datetime

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

NEWS = {
    "Museum returns bronzes": "The city museum returned forty bronze statues to Benin after long talks.",
    "Rail strike ends": "Train drivers accepted a pay rise of nine percent and ended their strike.",
    "New battery factory": "A battery maker will build a sodium cell factory near Leipzig with 900 jobs.",
    "Otters are back": "Biologists counted eighty otters along the river, the most since 1974.",
    "Chess title decided": "The nineteen-year-old grandmaster won the final with a queen sacrifice.",
    "Bakery prize": "A small bakery in Porto took an award for the best rye bread of Europe.",
    "Comet seen": "Amateurs with binoculars saw a green comet low above the western horizon.",
    "Opera opens": "Four thousand people heard the first opera in the restored hall of Palermo.",
    "Bees on roofs": "Beekeepers in Oslo keep two million insects on hotel rooftops and school gardens.",
}

# Different stories that share words …
BRIDGES = (
    ("Harbour bridge: repairs end", "The repairs of the Harbour bridge end on Monday."),
    ("Castle bridge: repairs begin", "The repairs of the Castle bridge begin in June."),
    ("Mill bridge: repairs paid", "The repairs of the Mill bridge are paid by villagers."),
    ("Railway bridge: repairs wait", "The repairs of the Railway bridge wait for a permit."),
)

# … which count as rare beside these.
TREES = [f"Alder{n} birch{n} cedar{n} elm{n} fir{n} oak{n}." for n in range(20)]
