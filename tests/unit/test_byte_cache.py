"""Bytes kept in memory: what was asked for last stays, and no more than fits."""

from __future__ import annotations

from bonded.server.core.caches import ByteCache
from bonded.server.core.digests import Sha256

ONE, TWO, THREE = (Sha256(letter * 64) for letter in "abc")


def test_what_was_asked_for_the_longest_ago_goes_first() -> None:
    cache = ByteCache(10)
    cache.add(ONE, b"1" * 5)
    cache.add(TWO, b"2" * 5)
    assert cache.find(ONE)

    cache.add(THREE, b"3" * 5)

    assert [cache.find(digest) is not None for digest in (ONE, TWO, THREE)] == [True, False, True]


def test_what_is_larger_than_the_cache_pushes_nothing_out() -> None:
    cache = ByteCache(10)
    cache.add(ONE, b"1" * 10)

    cache.add(TWO, b"2" * 11)

    assert (cache.find(ONE), cache.find(TWO)) == (b"1" * 10, None)


def test_what_was_removed_leaves_its_place_to_others() -> None:
    cache = ByteCache(10)
    cache.add(ONE, b"1" * 10)
    cache.remove(ONE)

    cache.add(TWO, b"2" * 5)
    cache.add(THREE, b"3" * 5)

    assert (cache.find(ONE), cache.find(TWO), cache.find(THREE)) == (None, b"22222", b"33333")
