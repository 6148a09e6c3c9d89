import json

import pytest

from scaling.data.package_index import find_file, pip_settings, without_password

NAME = "pkg_a-1.0.tar.gz"


def publish(folder, page, content):
    (folder / "simple" / "pkg-a").mkdir(parents=True)
    (folder / "simple" / "pkg-a" / page).write_text(content)


def test_json_page(server):
    url, folder = server
    files = [{"filename": NAME, "url": f"../../files/{NAME}", "hashes": {}}]
    publish(folder, "index.json", json.dumps({"files": files}))
    assert find_file(f"{url}/simple/", "Pkg_A", NAME) == f"{url}/files/{NAME}"
    with pytest.raises(LookupError, match=r"lists no other.whl among 1 files"):
        find_file(f"{url}/simple", "pkg-a", "other.whl")


def test_html_page(server):
    url, folder = server
    publish(
        folder,
        "index.html",
        f'<a href="other.whl">other.whl</a><a data-x="1" href="/files/{NAME}?a=1&amp;b=2#sha256=0">'
        f"\n{NAME}</a>",
    )
    assert find_file(f"{url}/simple", "pkg.a", NAME) == f"{url}/files/{NAME}?a=1&b=2"


def test_a_password_travels_to_the_same_host_only(server):
    url, folder = server
    secret = url.replace("://", "://me:word@")
    files = [{"filename": n, "url": u} for n, u in [("a", f"{url}/a"), ("b", "http://else/b")]]
    publish(folder, "index.json", json.dumps({"files": files}))
    assert find_file(f"{secret}/simple", "pkg-a", "a") == f"{secret}/a"
    assert find_file(f"{secret}/simple", "pkg-a", "b") == "http://else/b"
    assert without_password(f"GET {secret}/a failed") == f"GET {url}/a failed"


def test_pip_settings_come_from_where_pip_looks(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://main.example/simple\ncert = /certs.pem\n"
        "extra-index-url =\n    https://more.example/simple\n    file:///wheels\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = pip_settings()
    assert settings.indexes == ("https://main.example/simple", "https://more.example/simple")
    assert settings.verify == "/certs.pem"
    monkeypatch.setenv("PIP_INDEX_URL", "https://env.example/simple")
    assert pip_settings().indexes[0] == "https://env.example/simple"
