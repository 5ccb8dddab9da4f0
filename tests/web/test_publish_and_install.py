"""The path that everything else is built around: publish, list, download."""

from __future__ import annotations

from support.site import Site
from support.wheels import make_wheel


async def test_a_published_wheel_is_listed_and_downloads_unchanged(site: Site) -> None:
    wheel = make_wheel("Demo.App", "1.0", requires_python=">=3.9")

    uploaded = await site.upload(wheel)
    page = await site.page("demo-app")
    (file,) = page["files"]
    downloaded = await site.get(f"{site.repository}/demo-app/{file['filename']}")

    assert (uploaded.status_code, uploaded.text) == (200, f"Published {wheel.filename}\n")
    assert page["versions"] == ["1.0"]
    assert file["hashes"] == {"sha256": wheel.sha256}
    assert file["size"] == len(wheel.data)
    assert file["requires-python"] == ">=3.9"
    assert downloaded.content == wheel.data
