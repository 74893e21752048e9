"""Keeps pleach workers in the actors of a Ray cluster, for `executor: { use: ray }`.

Started by pleach with a socket at descriptor 3. Messages are framed as in docs/worker-protocol.md;
each is about one worker:

    host to driver   {"settings": {...}}, then {"worker": 1, "open": true},
                     {"worker": 1, "send": REQUEST}, {"worker": 1, "kill": true}
    driver to host   {"worker": 1, "opened": true}, {"worker": 1, "said": REPLY},
                     {"worker": 1, "printed": "a line"},
                     {"worker": 1, "died": {"reason": "...", "is_foreign": true, "printed": null}}
                     and about itself {"waits": "for what"}, {"ended": "why"}

An actor holds one `pleach worker` and passes messages on. Folders do not travel: what is in them
does, through Ray's object store.
"""

import asyncio
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

DESCRIPTOR = 3
# How long to try to reach a cluster, which may be starting again.
PATIENCE_S = 120
# After this it is said that a worker waits for room.
QUIET_S = 10
# How often an actor at work is asked for what its worker said meanwhile.
NEWS_EVERY_S = 0.5
# As for children of pleach itself.
LOOK_EVERY_S = 0.05


def frame(message):
    data = json.dumps(message).encode()
    return struct.pack("<I", len(data)) + data


def read_exactly(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            return None
        data += more
    return data


def read_frame(stream):
    length = read_exactly(stream, 4)
    if length is None:
        return None
    data = read_exactly(stream, struct.unpack("<I", length)[0])
    return None if data is None else json.loads(data)


def die_with_parent(sign=signal.SIGKILL):
    """Asks the system to end this process when the one that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(sign))


def pack(folder):
    """Everything in a folder, by path."""
    files = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, folder)] = file.read()
    return files


def unpack(files, folder):
    for name, data in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


class Slot:
    """One worker, on whatever node Ray has put it."""

    def __init__(self, program, memory):
        ours, theirs = socket.socketpair()
        self.stream = ours
        self.memory = memory
        self.news_lock = threading.Lock()
        self.news_list = []
        self.last_line = None
        self.killed = None
        self.folder = tempfile.mkdtemp(prefix="pleach-worker-")
        number = theirs.fileno()
        command = [program, "worker", "--descriptor", str(number)]
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[number],
        )
        theirs.close()
        threading.Thread(target=self.show, daemon=True).start()
        if memory:
            threading.Thread(target=self.look, daemon=True).start()

    def ready(self):
        return True

    def show(self):
        for line in self.child.stdout:
            text = line.decode(errors="replace").rstrip()[:500]
            if text:
                self.last_line = text
                self.tell({"printed": text})

    def look(self):
        while self.child.poll() is None:
            try:
                with open(f"/proc/{self.child.pid}/status") as status:
                    held = next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:")), 0)
            except OSError:
                return
            if held > self.memory:
                self.killed = f"held more than {self.memory} bytes of memory"
                self.child.kill()
                return
            time.sleep(LOOK_EVERY_S)

    def tell(self, what):
        with self.news_lock:
            self.news_list.append(what)

    def news(self):
        with self.news_lock:
            news, self.news_list = self.news_list, []
        return news

    def cancel(self, request):
        self.stream.sendall(frame(request))

    def ask(self, request, files=None):
        """Passes a request on: what was said until it was answered, and files that came of it."""
        call = request["call"]
        kind = next(iter(call))
        folder = None
        if kind in ("train", "save", "load"):
            folder = os.path.join(self.folder, str(request["task"]))
            os.makedirs(folder)
            call[kind]["folder"] = folder
        if files is not None:
            unpack(files, folder)
        try:
            self.stream.sendall(frame(request))
            while True:
                reply = read_frame(self.stream)
                if reply is None:
                    break
                self.tell({"said": reply})
                if reply.get("answer", {}).get("task") == request["task"]:
                    result = pack(folder) if kind in ("train", "save") else None
                    if folder is not None:
                        shutil.rmtree(folder, ignore_errors=True)
                    return self.news(), result
        except OSError:
            pass
        self.tell({"died": self.death()})
        return self.news(), None

    def death(self):
        try:
            code = self.child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = self.child.wait()
            self.killed = self.killed or "closed its descriptor"
        shutil.rmtree(self.folder, ignore_errors=True)
        time.sleep(LOOK_EVERY_S)
        death = {"reason": self.killed, "is_foreign": False, "printed": self.last_line}
        if self.killed is None and code < 0:
            name = signal.Signals(-code).name
            death["reason"] = f"was ended by signal {-code} ({name})"
            death["is_foreign"] = name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
        elif self.killed is None:
            death["reason"] = f"exited with code {code}"
        return death


class Driver:
    def __init__(self, ray, settings, writer):
        self.ray = ray
        self.settings = settings
        self.writer = writer
        resources = dict(settings["resources"])
        options = {"num_cpus": resources.pop("CPU", 1), "max_restarts": 0, "max_concurrency": 4}
        if "GPU" in resources:
            options["num_gpus"] = resources.pop("GPU")
        if resources:
            options["resources"] = resources
        self.slot = ray.remote(**options)(Slot)
        self.actors = {}
        # The last state that was loaded, in the object store.
        self.shared = (None, None)

    def report(self, what):
        self.writer.write(frame(what))

    def say(self, worker, what):
        self.report({"worker": worker, **what})

    def died(self, worker, reason, is_foreign=True):
        if self.actors.pop(worker, None) is not None:
            self.say(worker, {"died": {"reason": reason, "is_foreign": is_foreign, "printed": None}})

    def pass_on(self, worker, news):
        for what in news:
            if worker not in self.actors:
                return
            if "died" in what:
                self.ray.kill(self.actors.pop(worker))
            self.say(worker, what)

    async def open(self, worker):
        actor = self.slot.remote(self.settings["program"], self.settings["memory"])
        self.actors[worker] = actor
        try:
            # Waits for as long as no node has room: one that joins later is used.
            ready = asyncio.ensure_future(as_task(actor.ready.remote()))
            if not (await asyncio.wait([ready], timeout=QUIET_S))[0]:
                wanted = ", ".join(f"{name} {count:g}" for name, count in self.settings["resources"].items())
                self.report({"waits": f"worker {worker} waits for a node that has room for it ({wanted or 'CPU 1'})"})
            await ready
            self.say(worker, {"opened": True})
        except self.ray.exceptions.RayActorError as error:
            self.died(worker, first_line(error))

    async def ask(self, worker, request):
        actor = self.actors.get(worker)
        if actor is None:
            return
        call = request["call"]
        if call == "cancel":
            actor.cancel.remote(request)
            return
        kind = next(iter(call))
        folder = call[kind].get("folder") if kind in ("train", "save", "load") else None
        files = None
        if kind == "load":
            if self.shared[0] != folder:
                self.shared = (folder, self.ray.put(pack(folder)))
            files = self.shared[1]
        answered = asyncio.ensure_future(as_task(actor.ask.remote(request, files)))
        try:
            while True:
                done, _ = await asyncio.wait([answered], timeout=NEWS_EVERY_S)
                if done:
                    break
                self.pass_on(worker, await actor.news.remote())
            news, result = answered.result()
            if result is not None:
                unpack(result, folder)
            self.pass_on(worker, news)
        except self.ray.exceptions.RayActorError as error:
            answered.cancel()
            self.died(worker, first_line(error))

    def kill(self, worker):
        actor = self.actors.get(worker)
        if actor is not None:
            self.ray.kill(actor)
            self.died(worker, "was ended")


async def as_task(reference):
    return await reference


def first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"lost its actor: {lines[0] if lines else type(error).__name__}"[:200]


class Unreachable(Exception):
    """There is no cluster to work on, for a reason that goes on "could not be asked for"."""


NO_TOKEN = """the Ray cluster at {address} wants an authentication token that was not given or is another's. \
Ray takes one from RAY_AUTH_TOKEN, from the file RAY_AUTH_TOKEN_PATH or from ~/.ray/auth_token, and sends it to \
an address that is named only where RAY_AUTH_MODE=token is set: start pleach with it, or use `address: auto` for a \
cluster on this machine"""


def connect(address, say):
    """Joins a cluster, which may need some time to be there, or starts one on this machine."""
    try:
        import ray
    except ImportError as error:
        raise Unreachable(f"{sys.executable} has no Ray ({error}): pip install 'ray==2.*'") from error
    options = {"log_to_driver": False, "configure_logging": True}
    if address is None:
        ray.init(include_dashboard=False, **options)
        return ray
    begun = time.monotonic()
    said = False
    while True:
        try:
            knock(address)
            ray.init(address=address, **options)
            return ray
        except (OSError, RuntimeError) as error:
            if any("AuthenticationError" in f"{type(cause).__name__} {cause}" for cause in causes(error)):
                raise Unreachable(NO_TOKEN.format(address=address)) from error
            if time.monotonic() - begun > PATIENCE_S:
                reason = f"no Ray cluster answers at {address}, tried for {PATIENCE_S} s ({error})"
                raise Unreachable(reason) from error
            if not said:
                say({"waits": f"no Ray cluster answers at {address} yet ({error}); it is tried for {PATIENCE_S} s"})
                said = True
            time.sleep(1)


def knock(address):
    """Fails where nobody listens: Ray itself takes a quarter of an hour to find that out."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def serve(stream):
    reader, writer = await asyncio.open_connection(sock=stream)

    async def receive():
        try:
            length = struct.unpack("<I", await reader.readexactly(4))[0]
            return json.loads(await reader.readexactly(length))
        except asyncio.IncompleteReadError:
            return None

    first = await receive()
    if first is None:
        return
    settings = first["settings"]
    try:
        ray = connect(settings["address"], lambda what: writer.write(frame(what)))
    except Unreachable as error:
        writer.write(frame({"ended": f"could not be asked for: {error}"}))
        await writer.drain()
        return
    driver = Driver(ray, settings, writer)
    tasks = set()

    def start(coroutine):
        task = asyncio.ensure_future(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    while True:
        message = await receive()
        if message is None:
            break
        worker = message["worker"]
        if "open" in message:
            start(driver.open(worker))
        elif "send" in message:
            start(driver.ask(worker, message["send"]))
        elif "kill" in message:
            driver.kill(worker)
    for actor in driver.actors.values():
        ray.kill(actor)
    ray.shutdown()


if __name__ == "__main__":
    die_with_parent(signal.SIGTERM)
    asyncio.run(serve(socket.socket(fileno=DESCRIPTOR)))
