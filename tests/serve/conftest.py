"""A server program for tests: what `--vllm_python` names, run as a real process."""

import sys

import pytest

SERVES = """
import http.server, json, os, pathlib, sys, time

here = pathlib.Path(__file__).parent
arguments = dict(zip(sys.argv, sys.argv[1:]))
about = {"arguments": sys.argv[1:], "key": os.environ.get("VLLM_API_KEY")}
(here / "about.json").write_text(json.dumps(about))
print("Loading weights:", "half of them", flush=True)
time.sleep(LOADING_S)

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

http.server.HTTPServer((arguments["--host"], int(arguments["--port"])), Health).serve_forever()
"""


@pytest.fixture
def server_program(tmp_path):
    """Writes a program in vLLM's place and returns its path; beside it, `about.json` holds how it was called."""

    def write(body=SERVES, loading_s=0.0):
        program = tmp_path / "program" / "python"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\nLOADING_S = {loading_s}\n{body}")
        program.chmod(0o755)
        return str(program)

    return write


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files of this test and the processes it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder
