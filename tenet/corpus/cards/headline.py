"""The corpus in one line and in its key figures, from the card."""

from __future__ import annotations

from typing import Any

from tenet.runs.summary import Figure, Summary

#: How the held-out text was found, in words.
HOW = {
    "": "whole groups, by a hash of their names",
    "hash": "whole groups, by a hash of their names",
    "share": "whole groups in the order of a hash of their names until the share was reached, because their sizes are uneven or they are few",
    "within": "the last part of each file or group, because there are too few of them, or one is too large, to hold whole ones out: held-out "
    "text is of the same files as training text, so its figures say less about new ones",
}


def summary(content: dict[str, Any], groups: str) -> Summary:
    """Headline, figures and doubts.

    Args:
        content: of card.json.
        groups: the word for what is held out together.
    """
    gone = {row["filter"]: row["documents_in"] - row["documents_out"] for row in content["filters"]}
    tokens, documents, held = content["tokens"]["train"], content["documents"], content["heldout_groups"]
    within = content["heldout_how"] == HOW["within"]
    details = {"warnings": content["doubts"], "rows_across_the_split": content["rows_across_the_split"]}
    return Summary(
        headline=_headline(content, groups, within),
        figures=[
            Figure("training tokens", tokens, "tokens"),
            Figure(
                "documents kept",
                documents["kept"],
                "documents",
                baseline=documents["read"],
                better="neither",
                note="baseline: documents read",
            ),
            Figure(
                "bytes per token",
                content["bytes_per_token"]["train"],
                "bytes",
                baseline=1.0,
                note="baseline: a token for each byte",
            ),
            Figure("duplicates removed", gone["exact duplicate"] + gone["near duplicate"], "documents", better="neither"),
            Figure("near duplicates removed", gone["near duplicate"], "documents", better="neither"),
            Figure("contaminated removed", gone["contamination"] + gone["held-out overlap"], "documents", better="neither"),
            Figure(
                f"held-out {groups}",
                held["valid"] + held["test"],
                groups,
                better="neither",
                note="only the ends of them: " + HOW["within"] if within else "",
            ),
        ],
        tokens=tokens,
        details={name: told for name, told in details.items() if told},
    )


def _headline(content: dict[str, Any], groups: str, within: bool) -> str:
    documents, held, files = content["documents"], content["heldout_groups"], content["files"]
    licences = sorted({row["licence"] for row in content["licences"]})
    shown = ", ".join(licences) if len(licences) < 6 else f"{len(licences)} licences"
    out = f"the ends of {held['test']:,} {groups}" if within else f"{held['test']:,} {groups}"
    text = (
        f"{documents['kept']:,} of {documents['read']:,} documents kept, {content['tokens']['train']:,} training tokens; "
        f"{out} held out for the test ({shown})"
    )
    if files["skipped"]:
        total, (reason, most) = sum(files["skipped"].values()), next(iter(files["skipped"].items()))
        text += f"; {total:,} files or folders not read ({most:,} x {reason}{', ...' if len(files['skipped']) > 1 else ''}; skipped.jsonl)"
    if files["rows_refused"]:
        text += f"; {files['rows_refused']:,} rows refused (skipped.jsonl)"
    return "; ".join([text, *content["doubts"]])
