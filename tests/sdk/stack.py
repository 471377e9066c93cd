"""Simulated providers and gateways as real processes on loopback.

Per dialect there are a healthy provider (`up-…`), one whose faults a test chooses (`bad-…`) and one that refuses every
connection (`dead-…`). Two gateways stand before them: an open one, and one that wants a key.
"""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

DIALECTS = {"openai": "openai-chat", "anthropic": "anthropic-messages", "gemini": "gemini"}
UPSTREAMS = tuple(DIALECTS)
# The prefix of the API that each provider's base URL ends with.
PREFIXES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
# Model ids decide which rules the simulated provider holds a request to: this Gemini demands its thought signatures
# back, this Claude takes thinking budgets, this GPT shows its reasoning.
SERVED = {"openai": "gpt-4.1", "anthropic": "claude-haiku-4-5", "gemini": "gemini-3-flash"}
KEY = "sk-of-the-test"
START_LIMIT = 20.0
STOP_LIMIT = 10.0


def binary():
    """The gateway under test."""
    default = Path(__file__).parents[2] / "target" / "debug" / "mainstay"
    path = Path(os.environ.get("MAINSTAY_BIN", default))
    if not path.exists():
        raise RuntimeError(f"no binary at {path}: build it, or set MAINSTAY_BIN")
    return str(path)


def environment():
    """The environment of a child: without the machine's proxies and provider keys."""
    unwanted = ("_PROXY", "_API_KEY")
    return {name: value for name, value in os.environ.items() if not name.upper().endswith(unwanted)}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetch(url, body=None):
    """GET, or POST of JSON, past any proxy; the parsed answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    with opener.open(request, timeout=5) as response:
        return json.load(response)


class Process:
    """One process of the binary, ready when its probe answers."""

    def __init__(self, folder, name, arguments, probe, variables=None):
        self.name = name
        self.log = Path(folder, f"{name}.log")
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [binary(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment() if variables is None else variables,
            )
        self.probe = probe

    def wait_until_ready(self):
        until = time.monotonic() + START_LIMIT
        while time.monotonic() < until and self.child.poll() is None:
            with contextlib.suppress(OSError):
                fetch(self.probe)
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not start; it said:\n{self.log.read_text(errors='replace')}")

    def ask_to_stop(self):
        if self.child.poll() is None:
            self.child.terminate()

    def end(self):
        try:
            self.child.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Provider(Process):
    """A simulated provider, with its control routes."""

    def __init__(self, folder, name, upstream):
        self.url = f"http://127.0.0.1:{free_port()}"
        arguments = ["simulate", "--dialect", DIALECTS[upstream], "--listen", self.url.removeprefix("http://")]
        super().__init__(folder, name, arguments, f"{self.url}/__sim/journal")

    def set_faults(self, *faults):
        fetch(f"{self.url}/__sim/faults", list(faults))

    def behave(self, behaviour):
        """What it says, at which pace, and its faults; what is left out is the default."""
        fetch(f"{self.url}/__sim/behaviour", behaviour)

    def calls(self, model):
        """The calls that named this model, oldest first."""
        return [entry for entry in fetch(f"{self.url}/__sim/journal") if entry["model"] == model]


class Gateway(Process):
    """The gateway, started with a configuration file."""

    def __init__(self, folder, name, configuration):
        file = Path(folder, f"{name}.yaml")
        # JSON is YAML.
        file.write_text(json.dumps(configuration, indent=2))
        self.url = f"http://127.0.0.1:{free_port()}"
        arguments = ["serve", "--config", str(file), "--listen", self.url.removeprefix("http://")]
        super().__init__(folder, name, arguments, f"{self.url}/health/ready")


class Stack:
    """Everything together; a context manager."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mainstay-sdk-")
        # Bound and never listening: every connection is refused, and nobody else can take the port.
        self.dead = socket.socket()
        self.dead.bind(("127.0.0.1", 0))
        self.up, self.bad = {}, {}
        self.processes = []

    def __enter__(self):
        try:
            for upstream in UPSTREAMS:
                self.up[upstream] = self.started(Provider(self.folder.name, f"up-{upstream}", upstream))
                self.bad[upstream] = self.started(Provider(self.folder.name, f"bad-{upstream}", upstream))
            configuration = self.configuration()
            keys = [{"name": "test", "key": KEY}]
            self.open = self.started(Gateway(self.folder.name, "open", configuration))
            self.keyed = self.started(Gateway(self.folder.name, "keyed", {**configuration, "keys": keys}))
            for process in self.processes:
                process.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.ask_to_stop()
        for process in self.processes:
            process.end()
        self.dead.close()
        self.folder.cleanup()

    def started(self, process):
        self.processes.append(process)
        return process

    def configuration(self):
        dead = f"http://127.0.0.1:{self.dead.getsockname()[1]}"
        providers, models = {}, {}
        for upstream, dialect in DIALECTS.items():
            urls = {"up": self.up[upstream].url, "bad": self.bad[upstream].url, "dead": dead}
            for kind, url in urls.items():
                base = url + PREFIXES[upstream]
                providers[f"{kind}-{upstream}"] = {"dialect": dialect, "base_url": base, "keys": ["sim"]}
            models[f"via-{upstream}"] = {"targets": [f"up-{upstream}/{SERVED[upstream]}"]}
            for fallback in UPSTREAMS:
                healthy = f"up-{fallback}/{SERVED[fallback]}"
                for kind in ("bad", "dead"):
                    first = f"{kind}-{upstream}/{SERVED[upstream]}"
                    models[f"{kind}-{upstream}-then-{fallback}"] = {"targets": [first, healthy]}
        return {
            "providers": providers,
            "models": models,
            # Each test is to see the fault it asked for, not the rest that earlier ones earned their target.
            "health": {"consecutive": 1_000_000, "min_samples": 1_000_000},
            "drain": "1s",
            "drain_accept": "0s",
        }
