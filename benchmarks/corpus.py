"""The packages every target serves: tiny, valid, and the same bytes on every machine."""

import base64
import hashlib
import io
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import chain, count, islice

PAGE_FILES = 10
BIG_PAGE_FILES = 5_000
AGED_FILES = 1_000
YOUNG_PACKAGES = 40
FILE_SIZE_BYTES = 20_000
CLOSURE_PACKAGES = 50
TREE_PACKAGES = 150
EPOCH = (2026, 1, 1, 0, 0, 0)  # of every archive member, or the bytes would change with the clock
BOUNDARY = b"bonded-benchmark-boundary"


class Share(IntEnum):
    """How much of the corpus a target takes; a slow one takes less, which favours it."""

    ESSENTIALS = 1
    NAMED = 2
    EVERYTHING = 3


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel, complete in memory, and what an uploader says about it."""

    name: str
    version: str
    core_metadata: bytes = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def filename(self) -> str:
        """Return the wheel's filename (the binary distribution format specification)."""
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the wheel."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Corpus:
    """Everything a target holds before it is measured.

    Attributes:
        page: The package whose page has ten files.
        big: The package whose page has 5,000.
        aged: The package of 1,000 versions that gets more of them.
        young: The packages of ten versions that get more of them.
        medium: The wheel of 20 kB.
        closure: Fifty packages; the first depends, through the others, on all of them.
        crowd: Packages of ten files that make up the announced number of files.
    """

    page: tuple[Wheel, ...]
    big: tuple[Wheel, ...]
    aged: tuple[Wheel, ...]
    young: tuple[Wheel, ...]
    medium: Wheel
    closure: tuple[Wheel, ...]
    crowd: tuple[Wheel, ...]

    def share(self, share: Share) -> Iterator[Wheel]:
        """Yield the wheels of a target that takes that *share* of them."""
        yield from chain(self.page, (self.medium,), self.closure)
        if share >= Share.NAMED:
            yield from chain(self.big, self.aged, self.young)
        if share >= Share.EVERYTHING:
            yield from self.crowd


def build(files: int) -> Corpus:
    """Build a corpus of *files* wheels; what the named packages do not fill, the crowd does."""
    named = Corpus(
        page=versions("small-page", PAGE_FILES),
        big=versions("big-page", BIG_PAGE_FILES),
        aged=versions("aged", AGED_FILES),
        young=tuple(
            chain.from_iterable(versions(young_name(n), PAGE_FILES) for n in range(YOUNG_PACKAGES))
        ),
        medium=make_wheel("medium-file", "1.0", padding_bytes=FILE_SIZE_BYTES),
        closure=tuple(_closure()),
        crowd=(),
    )
    missing = files - len(tuple(named.share(Share.NAMED)))
    crowd = (versions(f"crowd-{number:05}", PAGE_FILES) for number in count())
    return replace(named, crowd=tuple(islice(chain.from_iterable(crowd), max(missing, 0))))


def young_name(number: int) -> str:
    """Return the name of the young package with that *number*."""
    return f"young-{number:02}"


def versions(name: str, amount: int, *, start: int = 0) -> tuple[Wheel, ...]:
    """Make *amount* versions of a package, numbered from *start*."""
    return tuple(make_wheel(name, f"1.{number}") for number in range(start, start + amount))


def _closure() -> Iterator[Wheel]:
    """Make packages that depend on the two after them, as a tree of dependencies does."""
    for number in range(CLOSURE_PACKAGES):
        requires = _needs("closure-{:02}>=1.0", number, CLOSURE_PACKAGES)
        yield make_wheel(f"closure-{number:02}", "1.0", requires=requires)


def _needs(requirement: str, number: int, packages: int) -> tuple[str, ...]:
    needs = (2 * number + 1, 2 * number + 2)
    return tuple(requirement.format(need) for need in needs if need < packages)


def tree() -> dict[str, tuple[Wheel, ...]]:
    """Make a tree of 150 packages of ten versions, of which the last is the one to install.

    Only the last has a size worth speaking of: nobody fetches the others.
    """
    packages = {}
    for number in range(TREE_PACKAGES):
        name, last = f"tree-{number:03}", f"1.{PAGE_FILES - 1}"
        requires = _needs("tree-{:03}>=1.0", number, TREE_PACKAGES)
        newest = make_wheel(name, last, requires=requires, padding_bytes=FILE_SIZE_BYTES)
        packages[name] = (*versions(name, PAGE_FILES - 1), newest)
    return packages


def make_wheel(
    name: str, version: str, *, requires: tuple[str, ...] = (), padding_bytes: int = 0
) -> Wheel:
    """Make a wheel whose RECORD covers every member, as the strictest peer demands."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    headers += ["Summary: A package of the benchmark", "Requires-Python: >=3.9"]
    headers += [f"Requires-Dist: {requirement}" for requirement in requires]
    core_metadata = ("\n".join(headers) + "\n").encode()
    members = {
        f"{module}/__init__.py": f'version = "{version}"\n'.encode(),
        f"{info}/METADATA": core_metadata,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: benchmark\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if padding_bytes:
        # Random, or the archive would be a fraction of the size that is announced.
        members[f"{module}/data.bin"] = random.Random(version).randbytes(padding_bytes)
    record = "".join(f"{path},{_digest(data)},{len(data)}\n" for path, data in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    return Wheel(name, version, core_metadata, _archive(members))


def _archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    """Return the digest of a RECORD row: unpadded base64, as the wheel specification says."""
    digest = hashlib.sha256(data).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def upload_form(wheel: Wheel) -> bytes:
    """Encode the multipart body that twine sends for *wheel* (the legacy upload API)."""
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": wheel.name,
        "version": wheel.version,
        "summary": "A package of the benchmark",
        "requires_python": ">=3.9",
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "md5_digest": hashlib.md5(wheel.content, usedforsecurity=False).hexdigest(),
        "sha256_digest": wheel.sha256,
        "blake2_256_digest": hashlib.blake2b(wheel.content, digest_size=32).hexdigest(),
    }
    parts = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
        for name, value in fields.items()
    ]
    disposition = f'Content-Disposition: form-data; name="content"; filename="{wheel.filename}"'
    content = b"\r\nContent-Type: application/octet-stream\r\n\r\n" + wheel.content
    parts.append(disposition.encode() + content)
    start = b"--" + BOUNDARY + b"\r\n"
    return start + (b"\r\n" + start).join(parts) + b"\r\n--" + BOUNDARY + b"--\r\n"
