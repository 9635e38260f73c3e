"""Licences by class: names that people write, expressions, and what nobody knows."""

from __future__ import annotations

import pytest

from tenet.corpus.licences import CLASSES, licence_class, refused


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Apache-2.0", "permissive"),
        ("Apache 2.0", "permissive"),
        ("apache-2.0", "permissive"),
        ("MIT", "permissive"),
        ("MIT License", "permissive"),
        ("PSF-2.0", "permissive"),
        ("CC-BY-4.0", "permissive"),
        ("ODC-By-1.0", "permissive"),
        ("CC0-1.0", "public_domain"),
        ("public-domain", "public_domain"),
        ("CC-BY-SA-4.0", "copyleft"),
        ("GPL-3.0", "copyleft"),
        ("GPL-3.0-only", "copyleft"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "copyleft"),
        ("CC-BY-NC-4.0", "noncommercial"),
        ("CC-BY-NC-SA-3.0", "noncommercial"),
        ("MIT OR GPL-3.0-only", "permissive"),
        ("MIT AND GPL-3.0-only", "copyleft"),
        ("MIT AND (CC-BY-NC-4.0 OR Apache-2.0)", "permissive"),
        ("MIT AND Made-Up-1.0", "unknown"),
        ("unknown", "unknown"),
        ("", "unknown"),
        ("all rights reserved (see web page", "unknown"),
    ],
)
def test_class_of_a_licence(name: str, expected: str) -> None:
    assert licence_class(name) == expected


def test_what_is_not_allowed_is_named_with_its_class() -> None:
    found = refused(["MIT", "CC-BY-NC-4.0", "nobody knows"], CLASSES[:2])
    assert found == {"CC-BY-NC-4.0": "noncommercial", "nobody knows": "unknown"}
    assert not refused(["MIT", "x"], CLASSES)
