import functools
import http.server
import os
import threading

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and a pip without configuration."""
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) and name != "PIP_CONFIG_FILE":
            monkeypatch.delenv(name)
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path):
    """Serve tmp_path/www; give its address, and the folder."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

        def guess_type(self, path):
            json = str(path).endswith(".json")
            return "application/vnd.pypi.simple.v1+json" if json else "text/html"

        def send_head(self):
            if self.path.endswith("/") and os.path.exists(self.translate_path(self.path)):
                self.path += next(
                    page
                    for page in ("index.json", "index.html")
                    if os.path.exists(self.translate_path(self.path + page))
                )
            return super().send_head()

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
