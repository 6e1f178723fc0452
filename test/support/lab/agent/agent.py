"""
The lab's hands in the network namespaces: clients, servers, captures and wires, all in one process.

    standard input     {"id": 1, "op": "...", ...}     one JSON object a line
    standard output    {"id": 1, "result": ...}  or  {"id": 1, "error": "..."}

`agent.ts` is the other end. The agent ends when its input does.
"""

import json
import os
import resource
import sys

from captures import Capture
from flows import Flow, FragmentsFlow, IcmpFlow, TcpFlow, UdpFlow
from loop import Loop
from namespaces import set_sysctls
from servers import Server
from streams import StreamFlow
from wires import Wire

STOP_GRACE_SECONDS = 1.0
KINDS = {"udp": UdpFlow, "tcp": TcpFlow, "icmp": IcmpFlow, "fragments": FragmentsFlow, "stream": StreamFlow}
CONNECTIONS = ("tcp", "stream")


class Agent:
    def __init__(self) -> None:
        self.loop = Loop()
        self.input = b""
        self.servers: list[Server] = []
        self.flows: dict[int, list[Flow]] = {}
        self.captures: dict[str, Capture] = {}
        self.wires: list[Wire] = []
        self.loop.read(sys.stdin.fileno(), self.readable)

    def readable(self) -> None:
        data = os.read(sys.stdin.fileno(), 1 << 20)
        if not data:
            self.loop.running = False
            return
        self.input += data
        *lines, self.input = self.input.split(b"\n")
        for line in lines:
            self.handle(json.loads(line))

    def handle(self, command: dict) -> None:
        try:
            self.answer(command["id"], getattr(self, "op_" + command["op"])(command))
        except OSError as error:
            print(json.dumps({"id": command["id"], "error": f"{command['op']}: {error}"}), flush=True)

    @staticmethod
    def answer(identity: int, result) -> None:
        print(json.dumps({"id": identity, "result": result}), flush=True)

    def op_sysctl(self, command: dict) -> None:
        for namespace in command["namespaces"]:
            set_sysctls(namespace, command["values"])

    def op_serve(self, command: dict) -> int:
        self.servers.append(Server(self.loop, command["server"]))
        return len(self.servers) - 1

    def op_seen(self, command: dict) -> list[dict]:
        return self.servers[command["server"]].seen

    def op_start(self, command: dict) -> int:
        """All flows begin at the same moment, when all have their sockets."""
        identity = command["id"]
        flows = [KINDS[job["kind"]](self.loop, job) for job in command["flows"]]
        self.flows[identity] = flows
        when = self.loop.now() + 0.02 + 0.0005 * len(flows)
        for flow in flows:
            flow.start(when)
        return identity

    def op_results(self, command: dict) -> list[dict]:
        return [flow.result() for flow in self.flows[command["run"]]]

    def op_stop(self, command: dict) -> None:
        """The flows send no more, and end when they have their answers; what was lost before is not waited for."""
        for flow in self.flows[command["run"]]:
            flow.stopping = True
            if flow.kind not in CONNECTIONS:
                flow.grace = min(flow.grace, STOP_GRACE_SECONDS)

    def op_capture(self, command: dict) -> None:
        for job in command["captures"]:
            known = self.captures.get(job["path"])
            if known is None:
                self.captures[job["path"]] = Capture(self.loop, job)
            else:
                known.follow(job)

    def op_captured(self, _command: dict) -> dict:
        return {path: capture.flush() for path, capture in self.captures.items()}

    def op_release(self, _command: dict) -> None:
        for capture in self.captures.values():
            capture.close()
        self.captures.clear()

    def op_wire(self, command: dict) -> None:
        self.wires.append(Wire(self.loop, command))


if __name__ == "__main__":
    # A socket for each flow and each capture: more than the usual soft limit.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Agent().loop.run()
