"""Hosts of one machine: network namespaces on a bridge, with links that can go down.

A host has a network of its own and shares everything else. A link that goes down is a
machine that vanishes: nobody is told, and no connection ends.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from xray.common.errors import UserError
from xray.common.processes import die_with_parent, stop

TICK_SECONDS = 0.01


def ip(*arguments: object) -> None:
    """Run `ip`, which must succeed."""
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True)


@dataclass
class Namespace:
    """One host, whose end of the bridge is `link`."""

    name: str
    link: str
    address: str
    processes: list[subprocess.Popen] = field(default_factory=list)

    def start(self, command: Sequence[str], **options: object) -> subprocess.Popen:
        """A process that lives on this host; Popen's options."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            start_new_session=True,
            preexec_fn=die_with_parent,
            **{"stdin": subprocess.DEVNULL, **options},
        )
        self.processes.append(process)
        return process

    def vanish(self) -> None:
        """Take the link down: what was connected is not told."""
        ip("link", "set", self.link, "down")

    def come_back(self) -> None:
        """Bring the link up again."""
        ip("link", "set", self.link, "up")

    def slow_down(self, mbits_per_second: float) -> None:
        """Bound the link in both directions."""
        # As much at once as passes between two ticks of the kernel's clock, or it is
        # slower than asked for (tc-tbf(8)).
        burst = max(32, mbits_per_second * 1000 * TICK_SECONDS)
        shape = ("rate", f"{mbits_per_second:g}mbit", "burst", f"{burst:g}kbit")
        self._shape("replace", "root", "tbf", *shape, "latency", "400ms")

    def speed_up(self) -> None:
        """Let the link go as fast as it can again."""
        self._shape("del", "root")

    def _shape(self, verb: str, *shape: str) -> None:
        inside = ("ip", "netns", "exec", self.name)
        for command, device in (((), self.link), (inside, "eth0")):
            command = [*command, "tc", "qdisc", verb, "dev", device, *shape]
            subprocess.run(command, check=True, capture_output=True)

    def kill_all(self) -> None:
        """End every process of this host."""
        for process in self.processes:
            stop(process)
        listing = ["ip", "netns", "pids", self.name]
        left = subprocess.run(listing, capture_output=True, text=True).stdout.split()
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)


@dataclass(frozen=True)
class Network:
    """The hosts, and this machine's own address as they see it."""

    address: str
    hosts: tuple[Namespace, ...]


@contextlib.contextmanager
def network(hosts: int) -> Iterator[Network]:
    """A bridge with so many hosts, for as long as the block runs.

    Raises:
        UserError: that needs other rights or programs.
    """
    if os.geteuid() or not (shutil.which("ip") and shutil.which("tc")):
        raise UserError("Network namespaces need root, and ip and tc of iproute2.")
    mark = os.getpid() % 10000
    bridge, subnet = f"xb{mark}", f"10.{100 + mark // 250}.{mark % 250}"
    with contextlib.ExitStack() as stack:
        try:
            ip("link", "add", bridge, "type", "bridge")
        except subprocess.CalledProcessError as error:
            reason = error.stderr.decode().strip()
            raise UserError(f"No network bridge can be made: {reason}.") from None
        stack.callback(ip, "link", "del", bridge)
        ip("addr", "add", f"{subnet}.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        made = [_host(stack, bridge, subnet, n) for n in range(2, hosts + 2)]
        yield Network(f"{subnet}.1", tuple(made))


def _host(
    stack: contextlib.ExitStack, bridge: str, subnet: str, number: int
) -> Namespace:
    name, link = f"{bridge}h{number}", f"{bridge}v{number}"
    host = Namespace(name, link, f"{subnet}.{number}")
    ip("netns", "add", name)
    stack.callback(ip, "netns", "del", name)
    stack.callback(host.kill_all)
    peer = ("peer", "name", "eth0", "netns", name)
    ip("link", "add", link, "type", "veth", *peer)
    ip("link", "set", link, "master", bridge, "up")
    ip("-n", name, "addr", "add", f"{host.address}/24", "dev", "eth0")
    for device in ("eth0", "lo"):
        ip("-n", name, "link", "set", device, "up")
    return host
