"""What of the corpus is from where on the web, and who asked to be left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from tenet.corpus.documents import Held, size, whole
from tenet.corpus.readers.web.optout import OPTED_OUT, host_of

#: Most domains that the card names; all are counted.
MOST_DOMAINS = 200
#: Opted-out pages in files that do not say their address.
NO_ADDRESS = "(no address)"


def domain_rows(kept: Sequence[Held]) -> dict[str, Any]:
    """The domains that documents are from, largest first.

    Returns:
        how many documents and bytes have an address, how many domains there are, and the largest with their licences.
    """
    count, total, licences = Counter[str](), Counter[str](), defaultdict[str, set[str]](set)
    for document in kept:
        metadata = whole(document)["metadata"]  # an address is not among what is held in memory
        if host := host_of(str(metadata.get("url") or "")):
            count[host] += 1
            total[host] += size(document)
            licences[host].add(str(metadata["licence"]))
    largest = sorted(total, key=lambda host: (-total[host], host))[:MOST_DOMAINS]
    return {
        "documents": count.total(),
        "bytes": total.total(),
        "domains": len(total),
        "largest": [
            {"domain": host, "documents": count[host], "bytes": total[host], "licences": sorted(licences[host])}
            for host in largest
        ],
    }


def opted_out(notes: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Host -> pages that were left out because they asked for it, most first.

    Args:
        notes: of all files.
    """
    counts: Counter[str] = Counter()
    for note in notes:
        hosts = Counter(note.get("opted_out", {}))
        counts += hosts
        told = note.get("unused", {}).get(OPTED_OUT, 0) + (note["reason"] == OPTED_OUT)
        counts[NO_ADDRESS] += max(0, told - hosts.total())
    return dict(sorted(((host, count) for host, count in counts.items() if count), key=lambda item: (-item[1], item[0])))
